"""Hand-written pages lead where they say, and name what exists."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from opsctl.render.fleet import HEADERS
from opsd.core.lifecycle import LIFECYCLE
from opsd.core.registry import loop_refs, read_registry
from opsd.model.effects import Document, Journal
from opsd.model.health import HealthStatus
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.reasons import REASONS
from opsd.model.refusals import REFUSALS
from opsd.settings import Settings
from tests.docs.prose import ALL_PAGES, PAGES, ROOT, anchors, blocks, code_spans, links, name_of, text_of

GUIDE = ROOT / "docs" / "operator-guide.md"
RUNBOOK = ROOT / "docs" / "runbook.md"

# A path of this project, as a page names it in backticks.
_PATH = re.compile(r"(?:opsd|opsctl|docs|tests|benchmarks|config|scripts|systemd)/[\w./-]*")


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(text_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page

        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(text_of(target)), f"{link} names no heading of {target.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """A reader who looks for a rule opens the file that the page names."""
    named = {span for span in code_spans(text_of(page)) if _PATH.fullmatch(span)}

    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_map_of_rules_names_files_that_exist() -> None:
    """A bare file name in the second column stands beside the full path before it."""
    table = text_of(ROOT / "docs" / "architecture.md").partition("## Where each rule lives")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ") and "`" in line]

    assert len(rows) > 15
    for row in rows:
        folder = ROOT
        for span in code_spans(row):
            path = ROOT / span if "/" in span else folder / span
            assert path.exists(), f"{row.strip()}: there is no {span}"
            folder = path.parent


def test_the_layers_are_those_that_make_check_enforces() -> None:
    said = next(
        text for text in text_of(ROOT / "docs" / "architecture.md").split("\n\n") if text.startswith("`__main__`")
    )
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    # In brackets stand layers that are not there yet.
    layers = [set(re.findall(r"(?<!\()\bopsd\.(\w+)", layer)) for layer in contracts[0]["layers"]]

    assert [set(code_spans(layer)) for layer in said.split(" → ")] == layers


def test_the_guide_explains_every_phase_with_the_contracts_word_for_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text_of(GUIDE), re.MULTILINE)

    assert dict(rows) == {phase.value: LIFECYCLE[phase].value for phase in Phase}


def test_the_guides_registry_is_one_that_is_believed() -> None:
    (example,) = blocks(text_of(GUIDE), "json")
    reading = read_registry(example.encode(), "the guide")

    assert reading.errors == ()
    assert reading.registry is not None
    assert [ref.repo_path for ref in loop_refs(reading.registry, "/srv/fleet")] == [
        "/srv/checkouts/docs",
        "/srv/checkouts/api",
        "/srv/checkouts/ui",
    ]


def test_the_guides_settings_exist() -> None:
    (example,) = blocks(text_of(GUIDE), "toml")

    assert set(tomllib.loads(example)) <= set(Settings.model_fields)


def test_the_guides_thresholds_are_the_shipped_ones() -> None:
    shipped = json.loads(text_of(ROOT / "config" / "ops-manager-threshold-profiles.v1.json"))["profiles"]

    for name, profile in shipped.items():
        silence = f"{profile['degradedIngestLagSeconds']} s, {profile['criticalIngestLagSeconds']} s"
        streak = f"{profile['degradedTransportFailureStreak']}, {profile['criticalTransportFailureStreak']}"
        assert f"| `{name}` | {silence} | {streak} |" in text_of(GUIDE)


def test_the_runbook_has_a_section_for_every_code_that_needs_somebody() -> None:
    sections = anchors(text_of(RUNBOOK))

    assert {entry.code for entry in REASONS.values() if entry.needs_human} - sections == set()


def test_the_runbook_knows_every_code() -> None:
    text = text_of(RUNBOOK)

    assert {code for code in REASONS if f"`{code}`" not in text} == set()


def test_the_runbook_explains_no_code_that_there_is_not() -> None:
    titles = re.findall(r"^### `?(\w+)`?$", text_of(RUNBOOK), re.MULTILINE)

    assert set(titles) - set(REASONS) - set(REFUSALS) == set()


def test_every_file_that_we_write_is_described() -> None:
    page = text_of(ROOT / "docs" / "reference" / "artifacts.md")

    for file in (*Document, *Journal):
        assert f"| `LOOP/{file.value}` |" in page


def test_the_readme_shows_a_table_as_opsctl_prints_it() -> None:
    """Columns, states and codes are those of the code; the lines themselves were printed once."""
    (shown,) = blocks(text_of(ROOT / "README.md"), "console")
    table = shown.split("\n\n")[1]
    header, *rows = [re.split(r" {2,}", line) for line in table.splitlines()]

    assert tuple(header) == HEADERS
    assert rows
    for _, state, health, why, *_ in rows:
        words = re.findall(r"\w+", state)
        assert words[0] in set(Lifecycle)
        assert words[-1] in set(Phase)
        assert health in set(HealthStatus)
        assert why == "-" or set(why.split(", ")) <= set(REASONS)
