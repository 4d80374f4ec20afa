"""A name for what is taken out of the way, so that two accidents in one second keep two remains."""

from datetime import datetime

from opsd.ports import Files
from opsd.store.layout import set_aside


def free_name(files: Files, path: str, now: datetime) -> str:
    """
    Raises:
        OSError: it cannot be seen which names are taken.
    """
    aside = wanted = set_aside(path, "unreadable", now)
    twin = 1
    while files.stat(aside) is not None:
        twin += 1
        aside = f"{wanted}-{twin}"
    return aside
