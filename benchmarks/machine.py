"""What the figures were measured on: enough to compare two runs, nothing that names the machine."""

import glob
import os
import platform
from importlib.metadata import version

PACKAGES = ("anyio", "msgspec", "starlette", "uvicorn", "watchfiles")


def machine(scratch: str) -> dict[str, str]:
    """Facts by name. `scratch` is the folder in which the benchmarks write; its file system is one of them."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": _after("/proc/cpuinfo", "model name") or platform.machine(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "file system": filesystem(scratch),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "opsd": version("opsd"),
        **{name: version(name) for name in PACKAGES},
    }


def filesystem(path: str) -> str:
    """The type of the file system that `path` lies on; of an ext4 also whether it has no journal.

    Without one, ext4 takes care not to use the inodes of removed files again soon, and every new file costs more.
    """
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == wanted:
                kind, source = fields[fields.index("-") + 1 : fields.index("-") + 3]
                journals = glob.glob(f"/proc/fs/jbd2/{glob.escape(os.path.basename(source))}-*")
                return f"{kind} without a journal" if kind == "ext4" and not journals else kind
    return "unknown"


def _after(path: str, key: str) -> str:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""
