"""A desk that takes intents in, carries them out on a `Checkout` and may die at any step; what must hold is in `check`.

It does what the real one does, in the same order, one step at a time and without a disk: its log is a list.
"""

from collections import Counter
from itertools import pairwise

from opsd.core.intents import gate, life
from opsd.core.intents.acts import acts_for, watermark
from opsd.core.intents.book import EMPTY, Conflict, book_of, noted, replay, settled
from opsd.core.intents.decision import WANTED
from opsd.core.intents.evidence import Outcome, confirmation, judge, stage
from opsd.core.intents.identity import default_key, fingerprint
from opsd.model.acts import ActResult
from opsd.model.intent import DECISIONS, NEVER_EXECUTED, NEXT, Fence, Intent, IntentKind, IntentStatus, Options
from opsd.model.run import Run
from tests.core.builders import LOOP, moment
from tests.core.intents.asking import ALIVE, RIYA, STOPPED
from tests.core.intents.checkouts import Checkout
from tests.core.managers import Manager


class Desk:
    def __init__(self) -> None:
        self.checkout = Checkout()
        self.manager = Manager(self.checkout)
        self.log: list[Intent] = []
        self.book = EMPTY
        self.done: Counter[str] = Counter()
        self._results: dict[str, ActResult] = {}
        self._mine: set[str] = set()
        """What was begun since the last restart."""

    # What may be done with it

    def is_asked(self, which: int, *, fits: bool, key: str | None, note: str) -> None:
        """An intent comes: one of those kinds that the gate lets pass, which one by `which`; else of any."""
        if self.book.in_flight is not None:
            return
        self.checkout.clock_s += 0.2
        run, scene = self._pass(), self.checkout.scene()
        drafts = [self._drafted(kind, key, note) for kind in IntentKind]
        may = [draft for draft in drafts if gate.refuse(draft, run, scene, scene.at) is None]
        choice = may if fits and may else drafts
        intent = choice[which % len(choice)]
        known = replay(self.newest(), intent.idempotency_key, intent.fingerprint)
        if known is not None:
            self.done["conflict" if isinstance(known, Conflict) else "replayed"] += 1
            return
        self._write(intent)

    def takes_a_step(self, way: str) -> None:
        """Begins what was recorded; or carries out what was begun; or hears what came of that."""
        if not self.may_step():
            return
        self.checkout.clock_s += 0.4
        intent = self.in_flight()
        if intent.status is IntentStatus.RECORDED:
            self._begin(intent)
        elif not self.checkout.acted[intent.id]:
            self._act(intent, way)
        else:
            self._hear(intent, self._results[intent.id])

    def looks(self, *, closes: bool) -> None:
        """Evidence is looked for; with `closes`, the window of what is under way closes without it."""
        self.checkout.clock_s += 0.2
        run = self._pass()
        for intent in self.book.open:
            mark = intent.watermark
            if mark is None or self._is_being_carried_out(intent):
                continue
            scene = self.checkout.scene(mark)
            verdict = judge(intent, run, scene, scene.at)
            seen = confirmation(intent, verdict, run, scene, 1, scene.at)
            after = intent
            if verdict.outcome is not Outcome.NOT_YET:
                after = life.judged(intent, verdict, seen, scene.at)
            elif closes and intent.is_in_flight:
                after = life.ambiguous(intent, seen, scene.at)
            if after is not intent:
                self.done[f"{intent.intent} {after.status} from {intent.status}"] += 1
                self._write(after)
        tracked = self.book.tracked
        found = stage(tracked, run) if tracked is not None else None
        if tracked is not None and found is not None:
            self.done[f"{tracked.intent} {found[0]}"] += 1
            self._write(life.staged(tracked, *found, moment(self.checkout.clock_s)))

    def is_settled_by_somebody(self) -> None:
        for intent in self.book.ambiguous[:1]:
            self.done["acknowledged"] += 1
            self._write(life.acknowledged(intent, "noor", RIYA, "seen", moment(self.checkout.clock_s)))

    def restarts(self) -> None:
        """Memory is gone; the log is not."""
        self._mine.clear()
        self.book = book_of(self.newest())
        for intent in self.book.open:
            after = life.recovered(intent, moment(self.checkout.clock_s))
            if after is not intent:
                self.done["expired by a restart"] += 1
                self._write(after)

    # What must hold

    def check(self) -> None:
        for intent in self.newest():
            rows = [row.status for row in self.log if row.id == intent.id]
            assert rows[0] is IntentStatus.RECORDED
            assert all(after is before or after in NEXT[before] for before, after in pairwise(rows)), rows
            assert rows.count(IntentStatus.EXECUTING) <= 1
            acted = self.checkout.acted[intent.id]
            assert acted <= 1, f"{intent.id} was carried out {acted} times"
            assert not (acted and intent.status in NEVER_EXECUTED), f"{intent.id} was carried out, {intent.status}"
        for key in ("k1", "k2"):
            carried_out = [
                one.id for one in self.newest() if one.idempotency_key == key and self.checkout.acted[one.id]
            ]
            assert len(carried_out) <= 1, f"{key} was carried out as {carried_out}"
        assert self.book == book_of(self.newest())
        assert sum(intent.is_in_flight for intent in self.book.open) <= 1

    def newest(self) -> list[Intent]:
        """What a restart reads: the newest row of each intent, oldest intent first."""
        found = {row.id: row for row in self.log}
        return sorted(found.values(), key=lambda one: one.ordinal)

    def in_flight(self) -> Intent:
        assert self.book.in_flight is not None
        return self.book.in_flight

    def may_step(self) -> bool:
        """Only who began it may carry it out, and hear what came of it: a restart does neither."""
        intent = self.book.in_flight
        return intent is not None and (intent.status is IntentStatus.RECORDED or self._is_being_carried_out(intent))

    def _is_being_carried_out(self, intent: Intent) -> bool:
        return intent.status is IntentStatus.EXECUTING and intent.id in self._mine

    def _begin(self, intent: Intent) -> None:
        """The row that must be on the disk before anything is done."""
        run, scene = self._pass(), self.checkout.scene()
        refusal = gate.refuse(intent, run, scene, scene.at)
        if refusal is not None:
            self.done["refused"] += 1
            self._write(life.refused(intent, refusal, scene.at))
            return
        acts = acts_for(intent, scene, repo="/srv/repo", log="log", timeout_s=1)
        self._write(life.executing(intent, watermark(run, scene, scene.at), acts, scene.at))
        self._mine.add(intent.id)

    def _act(self, intent: Intent, way: str) -> None:
        """With a last look, because a moment has passed since the row was written."""
        scene = self.checkout.scene(intent.watermark)
        refusal = gate.refuse(intent, self.manager.run, scene, scene.at) or gate.moved(intent, scene)
        if refusal is not None:
            self.done["refused at the last moment"] += 1
            self._write(life.refused(intent, refusal, scene.at))
            return
        self.done[f"{intent.intent} {way}"] += 1
        self._results[intent.id] = self.checkout.carry_out(intent, way)

    def _hear(self, intent: Intent, result: ActResult) -> None:
        done = life.executed(intent, [result], moment(self.checkout.clock_s))
        if done.status is IntentStatus.FAILED_COMMAND:
            run, scene = self._pass(), self.checkout.scene(done.watermark)
            seen = confirmation(done, judge(done, run, scene, scene.at), run, scene, 1, scene.at)
            done = life.looked_back(done, seen, scene.at)
        self._write(done)

    def _pass(self) -> Run:
        self.manager.look(self.checkout.clock_s)
        return self.manager.run

    def _write(self, row: Intent) -> None:
        self.log.append(row)
        self.book = noted(self.book, row)
        if row.status is IntentStatus.CONFIRMED and row.updated_at == (row.resolved_at or row.settled_at):
            self._must_be_true(row)

    def _must_be_true(self, intent: Intent) -> None:
        """What is called confirmed has truly happened, and not before the watermark."""
        mark = intent.watermark
        assert mark is not None
        scene, done_s = self.checkout.scene(mark), (mark.at - moment(0)).total_seconds()
        match intent.intent:
            case IntentKind.CANCEL:
                assert scene.watched not in (ALIVE, STOPPED)
                state = scene.state.value
                assert state is None or state.active is not True or state.current_loop_id != LOOP
            case IntentKind.APPROVE | IntentKind.REJECT:
                made = [(digest, status) for at_s, digest, status in self.checkout.decisions if at_s >= done_s]
                assert (mark.candidate, WANTED[intent.intent]) in made
            case IntentKind.START:
                assert any(begun_s >= done_s for begun_s in self.checkout.begun)
            case IntentKind.PAUSE:
                assert set(scene.family) == {STOPPED}
            case IntentKind.RESUME:
                assert STOPPED not in scene.family
        if intent.intent in DECISIONS and not self.checkout.acted[intent.id]:
            self.done["confirmed by another's hand"] += 1

    def _drafted(self, kind: IntentKind, key: str | None, note: str) -> Intent:
        ordinal, options = self.book.ordinal + 1, Options(clear_stale=kind is IntentKind.START)
        return life.recorded(
            id=f"i-{ordinal}",
            loop_id=LOOP,
            kind=kind,
            requested_by="riya",
            actor=RIYA,
            trace_id="t",
            idempotency_key=key or default_key(LOOP, None, None, kind, None, settled(self.book)),
            key_given=key is not None,
            fingerprint=fingerprint(LOOP, kind, "riya", note, "", Fence(), options),
            ordinal=ordinal,
            now=moment(self.checkout.clock_s),
            expires_at=moment(self.checkout.clock_s + 60),
            note=note,
            options=options,
        )
