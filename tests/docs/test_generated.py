"""The generated pages say what the code says."""

from pathlib import Path

from docs.generate.pages import drift, pages, write


def test_every_generated_page_is_as_the_code_makes_it() -> None:
    """A stale reference is worse than none: people believe it."""
    assert drift() == {}, "run `make docs` and read the difference: others rely on these pages"


def test_making_the_pages_twice_makes_the_same_bytes() -> None:
    assert pages() == pages()


def test_a_page_that_is_stale_missing_or_left_over_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "reasons.md").write_text("made up", encoding="utf-8")
    (tmp_path / "settings.md").unlink()
    (tmp_path / "forgotten.md").write_text("from a former page", encoding="utf-8")

    assert drift(tmp_path) == {"reasons.md": "stale", "settings.md": "missing", "forgotten.md": "left over"}
    assert write(tmp_path) == ["reasons.md", "settings.md"]
    assert drift(tmp_path) == {"forgotten.md": "left over"}
