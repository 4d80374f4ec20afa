"""The list of generated pages: where each lies below `docs/reference/`, and what makes it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate import api, artifacts, commands, reasons, refusals, schemas, service
from opsd import logs, settings
from opsd.store.schemas import schemas as schema_documents

REFERENCE = Path(__file__).parents[1] / "reference"

_PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api.render,
    "artifacts.md": artifacts.render,
    "commands.md": commands.render,
    "log-events.md": logs.reference_page,
    "openapi.json": api.openapi_document,
    "reasons.md": reasons.render,
    "refusals.md": refusals.render,
    "schemas.md": schemas.render,
    "service.md": service.render,
    "settings.md": settings.reference_page,
}


def pages() -> dict[str, str]:
    """File name below `reference/` to content, every byte of it."""
    made = {name: render() for name, render in _PAGES.items()}
    made |= {f"schemas/{name}": data.decode() for name, data in schema_documents().items()}
    return made


def drift(folder: Path = REFERENCE) -> dict[str, str]:
    """What is wrong with the files in `folder`, by name: `stale`, `missing`, or `left over` from a former page."""
    made = pages()
    found = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }
    wrong = {name: "missing" if name not in found else "stale" for name in made if found.get(name) != made[name]}
    return wrong | {name: "left over" for name in found if name not in made}


def write(folder: Path = REFERENCE) -> list[str]:
    """Write what is stale or missing, and name it; what is left over stays, for a person to judge."""
    made = pages()
    wanted = sorted(name for name, problem in drift(folder).items() if problem != "left over")
    for name in wanted:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[name], encoding="utf-8")
    return wanted
