"""Whether a path stays inside its checkout once every link in it is followed."""

from opsd.ports import Files


def is_within(files: Files, path: str, root: str) -> bool:
    """True for `root` itself and everything below it. What does not exist counts by where it would be."""
    real_root = files.real(root).rstrip("/")
    real_path = files.real(path)
    return real_path == real_root or real_path.startswith(f"{real_root}/")
