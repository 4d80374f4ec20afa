"""Text that a run wrote is not to be trusted with a terminal: what is not plainly visible is shown as an escape."""


def defuse(text: str) -> str:
    """One line without control, bidirectional or unassigned characters: `\\x1b`, `\\u202e`, `\\n` instead."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def defuse_lines(text: str) -> str:
    """The same for text of several lines: line ends stay, tabs become spaces."""
    return "\n".join(defuse(line.expandtabs()) for line in text.replace("\r\n", "\n").split("\n"))
