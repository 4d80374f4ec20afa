"""The telemetry of a loop as the tuning rules want it: read back from its journals, and carried along by the passes.

A daemon holds the window of each loop in memory, so that a sample costs no reading; where none is held it is read from
the end of the journal. What is counted is `opsd.core.tuning`, what follows `opsd.core.drift`.
"""

from datetime import datetime
from typing import Final

import msgspec

from opsd.app.samples import read_controls, read_samples
from opsd.core import drift, tuning
from opsd.core.reconcile import Decision, Rules, sample_of, tuned
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.ids import LoopId, TraceId, loop_id_fault
from opsd.model.oneshot import DriftRequest, OneShotReply
from opsd.model.run import Run
from opsd.model.tuning import ControlWindow, DriftMemory, DriftRow, Gap, Sample, SummarySource, Window
from opsd.ports import Files
from opsd.store.commit import LoopCommit
from opsd.store.faults import in_words
from opsd.store.journal import RETENTION, generations
from opsd.store.layout import Layout
from opsd.store.store import Store

_KNOWN_MAX: Final = 4096
_DOCUMENT_BYTES_MAX: Final = 1 << 24


class Telemetry:
    """The journals of one home, for passes over its loops."""

    def __init__(self, layout: Layout, files: Files) -> None:
        self._layout = layout
        self._files = files
        # The windows of thousands of loops hold the same few samples over and over.
        self._known: dict[Sample, Sample] = {}

    def tuned(self, decision: Decision, rules: Rules, trace_id: TraceId, now: datetime) -> Decision:
        """The decision with what follows from telemetry, if its pass leaves a sample; else as it is.

        Where the journals cannot be read nothing follows: advice from half the rows would end drift that goes on.
        """
        row = sample_of(decision)
        if row is None or loop_id_fault(decision.run.ref.loop_id):
            return decision  # what is only listed has no files of ours
        size, run = rules.drift.summary_window, decision.run
        held = run.window
        before = held.places if held is not None and held.size >= size else self._stored(run, size)
        controls = self._controls(run, size)
        if before is None or controls is None:
            return decision
        places = (*before[max(0, len(before) - size + 1) :], self._shared(tuning.sample_of(row)))
        window = Window(size, places, controls)
        return tuned(decision, window, source_of(self._layout, run.ref.loop_id, size), rules, trace_id, now)

    def _stored(self, run: Run, size: int) -> tuple[Sample | Gap, ...] | None:
        paths = generations(self._layout.journal(run.ref.loop_id, Journal.RECONCILE), RETENTION[Journal.RECONCILE])
        if self._stamp(paths[0]) == self._stamp(paths[1]) == ():
            return ()  # so it is with most loops that are met for the first time: the rest need not be looked for
        read = read_samples(self._files, paths, size)
        if read.fault is not None:
            return None
        return tuple(self._shared(each) if isinstance(each, Sample) else each for each in read.places)

    def _controls(self, run: Run, size: int) -> ControlWindow | None:
        path = self._layout.journal(run.ref.loop_id, Journal.CONTROL)
        stamp = self._stamp(path)
        if stamp == ():
            return _NO_CONTROLS
        held = run.window
        if held is not None and held.size == size and held.controls.stamp == stamp:
            return held.controls
        read = read_controls(self._files, generations(path, RETENTION[Journal.CONTROL]), size)
        if read.fault is not None or stamp is None:
            return None
        return ControlWindow(stamp, read.ambiguous_count, len(read.odd))

    def _stamp(self, path: str) -> tuple[int, ...] | None:
        """Empty where there is no such file, None where nobody can say."""
        try:
            stat = self._files.stat(path)
        except OSError:
            return None
        return () if stat is None else (stat.device, stat.inode, stat.size_bytes, stat.mtime_ns)

    def _shared(self, sample: Sample) -> Sample:
        if len(self._known) > _KNOWN_MAX:
            self._known = {}
        return self._known.setdefault(sample, sample)


_NO_CONTROLS: Final = ControlWindow()


def source_of(layout: Layout, loop_id: LoopId, size: int) -> SummarySource:
    return SummarySource(
        repo_path=layout.home,
        loop_id=loop_id,
        reconcile_telemetry_file=layout.journal(loop_id, Journal.RECONCILE),
        control_telemetry_file=layout.journal(loop_id, Journal.CONTROL),
        window=size,
    )


def drift_pass(
    store: Store, layout: Layout, files: Files, loop_id: LoopId, request: DriftRequest, now: datetime
) -> OneShotReply:
    """One evaluation as somebody asked for it, written like one of a pass. Nobody is told, and no state is touched.

    For the writer of the home, or of files that are `moved`. Source: status-and-tuning 3.1.
    """
    path = layout.document(loop_id, Document.PROFILE_DRIFT)
    try:
        before = _remembered(files, path)
    except OSError as error:
        return OneShotReply(1, error=f"{path} cannot be read: {in_words(error)}; mend its permissions")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"invalid JSON in drift state file: {path} ({error})"
        return OneShotReply(1, error=f"{problem}; mend or remove it, and the streak begins anew")
    document = drift.evaluate(
        before,
        applied=request.applied_profile,
        recommended=request.recommended_profile,
        confidence=request.confidence,
        options=request.options,
        rationale=request.rationale,
        loop_id=loop_id,
        now=now,
    )
    row = DriftRow(document.updated_at, loop_id, document)
    effects = (Append(Journal.PROFILE_DRIFT, row), Replace(Document.PROFILE_DRIFT, document))
    for failure in store.commit([LoopCommit(loop_id, effects)], now).failures:
        return OneShotReply(1, error=f"{failure.path} cannot be written: {failure.problem}")
    return OneShotReply(0, msgspec.Raw(msgspec.json.encode(document)))


def _remembered(files: Files, path: str) -> DriftMemory:
    try:
        _, data = files.read(path, 0, _DOCUMENT_BYTES_MAX)
    except FileNotFoundError:
        return DriftMemory()
    return drift.remembered(data)
