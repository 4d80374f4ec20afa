"""Which loops there are: from the registry file, or by looking into the home where there is none.

What a registry must satisfy is `opsd.core.registry`. Keeping the old one in force when a new one is faulty is the
caller's business.
"""

from opsd.core.registry import faulty_id, loop_refs, read_registry
from opsd.model.ids import LoopId
from opsd.model.registry import RegistryReading
from opsd.model.run import LoopRef
from opsd.ports import Files
from opsd.transports.artifacts import loop_folder, read_config, runtime_folder
from opsd.transports.confine import is_within

REGISTRY_BYTES_MAX = 16 * 1024 * 1024
_CONFIG_BYTES_MAX = 1024 * 1024

__all__ = ["configured", "discover", "load_registry", "loop_refs"]


def load_registry(files: Files, path: str) -> RegistryReading | None:
    """What the registry at `path` says, or what is wrong with it; None where there is no such file."""
    try:
        stat, data = files.read(path, 0, REGISTRY_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        return RegistryReading(errors=(f"{path} cannot be read: {error.strerror or error}",))
    if stat.size_bytes > REGISTRY_BYTES_MAX:
        problem = f"{path} is {stat.size_bytes} bytes long, more than {REGISTRY_BYTES_MAX}"
        return RegistryReading(errors=(problem,))
    return read_registry(data, path)


def discover(files: Files, home: str) -> tuple[LoopRef, ...]:
    """The loops under the home's `.superloop/loops/`, by name; those that cannot be managed carry their fault.

    Raises:
        OSError: the folder is there and cannot be listed.
    """
    folder = f"{runtime_folder(home)}/loops"
    try:
        entries = files.scan(folder)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(_found(files, home, name) for name, kind in sorted(entries) if kind == "dir")


def configured(files: Files, home: str) -> tuple[LoopRef, ...] | None:
    """The loops that the home's `config.json` names, by name: also those that have never run and left no folder.

    None where the file makes no sense, perhaps because it is just being written.
    """
    try:
        _, data = files.read(f"{runtime_folder(home)}/config.json", 0, _CONFIG_BYTES_MAX)
        names = sorted(name for name in read_config(data) if name)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):  # msgspec's errors and the file's own are all ValueErrors
        return None
    return tuple(_found(files, home, name) for name in names)


def _found(files: Files, home: str, name: str) -> LoopRef:
    loop_id = LoopId(name)
    fault, detail = faulty_id(name)
    if fault is None and not is_within(files, folder := loop_folder(home, loop_id), home):
        fault, detail = "loop_outside_repo", f"{folder} leads out of {home} through a link"
    return LoopRef(loop_id, home, fault=fault, fault_detail=detail)
