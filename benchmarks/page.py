"""The part of docs/performance.md that is measured, not written: machine, date and table, between two marks."""

from benchmarks.figures import Report, table

BEGIN = "<!-- measured: written by `python -m benchmarks --docs` -->"
END = "<!-- end of measured -->"


def with_report(page: str, report: Report) -> str:
    """The page's text with the report in place of what stood between the marks.

    Raises:
        ValueError: the page lacks the marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN!r} and {END!r}, in this order")
    return f"{head}{BEGIN}\n\n{measured(report)}\n\n{END}{tail}"


def measured(report: Report) -> str:
    """Date and machine in one paragraph, then the table."""
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    return f"{report.date}; {facts}.\n\n{table(report.figures)}"
