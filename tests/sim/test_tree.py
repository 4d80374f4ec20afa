"""The two trees behave alike: a history of operations leaves the same files on disk and in memory."""

import json
import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from opsd.sim.steps import AddEntry, Append, Delete, Document, FileOp, Replace, Touch, Truncate
from opsd.sim.tree import DiskTree, MemoryTree, pretty, with_entry

PATHS = st.sampled_from(["a.json", "deep/er/b.jsonl"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)
OPS: st.SearchStrategy[FileOp] = st.one_of(
    st.builds(Touch, PATHS),
    st.builds(Truncate, PATHS),
    st.builds(Append, PATHS, TEXTS),
    st.builds(Replace, PATHS, TEXTS),
    st.builds(Delete, PATHS),
)


@settings(deadline=None)  # a real disk takes its time
@given(st.lists(OPS, max_size=12))
def test_disk_and_memory_agree_after_any_history(history: list[FileOp]) -> None:
    """Digests and instant trees are made in memory; they mean something only if a disk would look the same."""
    with tempfile.TemporaryDirectory() as repo:
        disk, memory = DiskTree(repo), MemoryTree()
        for op in history:
            disk.perform(op)
            memory.perform(op)

        for path in ("a.json", "deep/er/b.jsonl"):
            assert disk.read(path) == memory.read(path)
        assert not [name for _, _, names in os.walk(repo) for name in names if name.endswith(".tmp")]


def test_a_spliced_summary_equals_one_written_whole() -> None:
    """Entries are joined as text so that long summaries stay cheap; the text must be what a JSON tool would print."""
    entries: list[Document] = [{"iteration": 1, "artifacts": {}}, {"iteration": 2, "list": []}, {"iteration": 3}]
    text = None
    for number, entry in enumerate(entries):
        text = with_entry(text, AddEntry("s", "loop", entry, f"at-{number}"))

    whole: Document = {"version": 1, "loop_id": "loop", "updated_at": "at-2", "entries": entries}
    assert text == pretty(whole)
    assert json.loads(text)["entries"] == entries
