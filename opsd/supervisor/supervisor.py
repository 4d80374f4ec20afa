"""Joins the parts into one running whole: built here, started, watched over, retuned, and stopped in good order.

What each part does is in its own file. Where disks, sockets and settings come from is `opsd.daemon`.
"""

import os
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

import anyio
import msgspec

from opsd import VERSION
from opsd.app.passes import Passes
from opsd.app.tuning import Telemetry
from opsd.core.pace import Pace
from opsd.core.reconcile import Decision, Rules
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.intent import Intent
from opsd.model.thresholds import ProfileCatalog, ThresholdBasis
from opsd.ports import Clock, Controls, Files, Offload, Processes, Transport
from opsd.ports import Services as ServicesPort
from opsd.protocol import API_VERSION, DaemonStatus, Subsystem
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.alarms import Alarms
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.books import Books
from opsd.supervisor.carrying import Carrier, Hands
from opsd.supervisor.commits import Commits
from opsd.supervisor.custody import Custody
from opsd.supervisor.desk import Desk
from opsd.supervisor.feed import Feed
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.fleet import Fleet, Metrics
from opsd.supervisor.intake import Intake
from opsd.supervisor.membership import Membership, RegistrySource
from opsd.supervisor.modes import ModeKeeper
from opsd.supervisor.noticing import ChangeNotice, Noticing
from opsd.supervisor.oneshot_control import OneShotControl
from opsd.supervisor.oneshots import OneShots, Outward
from opsd.supervisor.passing import Passing
from opsd.supervisor.pending import Pending
from opsd.supervisor.perform import Performer
from opsd.supervisor.polling import Polls
from opsd.supervisor.profiles import ProfileKeeper
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.remote import RemoteCarrier
from opsd.supervisor.roster import Member, Roster
from opsd.supervisor.services import Service, Services
from opsd.supervisor.switches import Switches
from opsd.supervisor.vigil import Vigil
from opsd.transports.service import ServiceTransport
from opsd.transports.sweep import Sweep

PASS_RETRY = Backoff(first_s=1.0, longest_s=60.0)
COMMIT_RETRY = Backoff(first_s=0.5, longest_s=10.0)
_BATCHES_END_S = 1.5
_FLUSH_ENDS_S = 1.5


class Tuning(msgspec.Struct, frozen=True):
    """What may be set anew while the daemon runs; seconds where the name says so."""

    rules: Rules
    basis: ThresholdBasis = ThresholdBasis(ProfileCatalog("v1", {}))
    commit_interval_s: float = 0.1
    max_concurrent_passes: int = 2
    pass_deadline_s: float = 30.0
    control_timeout_s: float = 60.0
    pace: Pace = Pace()


class Threads(msgspec.Struct, frozen=True):
    """Where blocking work goes. What hangs in one of them holds up the others not at all."""

    passes: Offload
    commits: Offload
    looks: Offload
    acts: Offload


class Remote(msgspec.Struct, frozen=True):
    """How loops behind services are reached: what asks, and what hands the answers to the passes."""

    services: ServicesPort
    transport: ServiceTransport


class Supervisor:
    """`fleet` is for the API. `pulse` is called every second with whether every part is well."""

    def __init__(
        self,
        *,
        start_id: str,
        layout: Layout,
        files: Files,
        store: Store,
        transport: Transport,
        processes: Processes,
        controls: Controls,
        watch: ChangeNotice | None,
        sweep: Sweep,
        sweep_interval_s: float,
        threads: Threads,
        clock: Clock,
        log: Log,
        tuning: Tuning,
        pulse: Callable[[bool], None],
        acts_at_once: int = 8,
        remote: Remote | None = None,
        outward: Outward | None = None,
        discovers: bool = False,
        new_intent_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.findings = DaemonFindings()
        self.passed: Callable[[LoopId], None] = lambda _loop_id: None
        """Who else hears of every pass over a loop, whatever it came to."""
        self._start_id = start_id
        self._layout = layout
        self._clock = clock
        self._log = log
        self._pulse = pulse
        self._started_at = clock.now()
        self._cancel = anyio.CancelScope()
        self._passes_ended = anyio.Event()
        self._tuning = tuning
        self._passes = Passes(transport, tuning.rules, clock.monotonic, Telemetry(layout, files))

        self._roster = Roster(clock)
        self._feed = Feed(start_id, self._roster, clock)
        self._queue = WorkQueue(retry=PASS_RETRY, jitter=random.random)
        self._intake = Intake(self._queue, self._roster, clock)
        self._alarms = Alarms(self._intake.judge_anew, clock=clock, log=log)
        self._pending = Pending(retry=COMMIT_RETRY, jitter=random.random)
        self._commits = Commits(
            store.commit,
            pending=self._pending,
            offload=threads.commits,
            clock=clock,
            findings=self.findings,
            log=log,
            interval_s=tuning.commit_interval_s,
        )
        self._performer = Performer(
            commits=self._commits,
            alarms=self._alarms,
            intake=self._intake,
            roster=self._roster,
            feed=self._feed,
            findings=self.findings,
            clock=clock,
            log=log,
        )
        self._passing = Passing(
            self._passes,
            queue=self._queue,
            intake=self._intake,
            roster=self._roster,
            performer=self._performer,
            offload=threads.passes,
            clock=clock,
            findings=self.findings,
            log=log,
            most_at_once=tuning.max_concurrent_passes,
            deadline_s=tuning.pass_deadline_s,
        )
        self._modes = ModeKeeper(
            store,
            commits=self._commits,
            findings=self.findings,
            clock=clock,
            log=log,
            changed=lambda: self.desk.modes_changed(),
        )
        self._switches = Switches(store, commits=self._commits, findings=self.findings, clock=clock, log=log)
        self._profiles = ProfileKeeper(
            store,
            commits=self._commits,
            findings=self.findings,
            clock=clock,
            log=log,
            basis=tuning.basis,
            changed=self._judge_by_profiles,
        )
        self._books = Books(
            store,
            commits=self._commits,
            roster=self._roster,
            feed=self._feed,
            intake=self._intake,
            findings=self.findings,
            clock=clock,
            log=log,
            mode_of=self._modes.in_force,
        )
        self._carrier = Carrier(
            Hands(files, processes, controls, layout, timeout_s=lambda: self._tuning.control_timeout_s),
            books=self._books,
            roster=self._roster,
            intake=self._intake,
            acts=threads.acts,
            looks=threads.passes,
            clock=clock,
            log=log,
            most_at_once=acts_at_once,
        )
        self.desk = Desk(
            books=self._books,
            carrier=self._carrier,
            remote=None if remote is None else self._carrying(remote.services, clock, log),
            modes=self._modes,
            switches=self._switches,
            profiles=self._profiles,
            store=store,
            commits=self._commits,
            roster=self._roster,
            clock=clock,
            log=log,
            new_id=new_intent_id,
        )
        self._polls = None if remote is None else self._polling(remote, clock, log)
        self._performer.looked = self._looked
        self._membership = Membership(
            RegistrySource(files, layout, remote=remote is not None, discovers=discovers),
            store=store,
            transport=transport,
            roster=self._roster,
            queue=self._queue,
            intake=self._intake,
            alarms=self._alarms,
            commits=self._commits,
            feed=self._feed,
            offload=threads.looks,
            clock=clock,
            findings=self.findings,
            log=log,
            books=self._books,
            switched=self._switches.switched,
            settled=self._members_changed,
        )
        self._switches.apply = self._membership.apply_switches
        self._noticing = Noticing(
            watch=watch,
            sweep=sweep,
            roster=self._roster,
            intake=self._intake,
            loops_changed=self._membership.look_soon,
            offload=threads.looks,
            clock=clock,
            findings=self.findings,
            log=log,
            interval_s=sweep_interval_s,
        )
        self._vigil = Vigil(processes, roster=self._roster, intake=self._intake, offload=threads.looks, clock=clock)
        self._custody = Custody(
            files,
            layout,
            roster=self._roster,
            intake=self._intake,
            refused=lambda: self._pending.refused,
            offload=threads.looks,
            clock=clock,
            log=log,
        )
        services = [
            Service("commits", self._commits.serve, in_time_s=10.0),
            Service("passes", self._serve_passes, in_time_s=20.0),
            Service("wakes", self._alarms.serve, in_time_s=5.0),
            Service("registry", self._membership.serve, in_time_s=10.0),
            Service("sweep", self._noticing.sweep, in_time_s=10.0 + sweep_interval_s),
            Service("custody", self._custody.serve, in_time_s=10.0),
            Service("vigil", self._vigil.serve, in_time_s=10.0),
            Service("intents", self.desk.serve, in_time_s=30.0),
            Service("pulse", self._serve_pulse, in_time_s=5.0),
        ]
        if self._polls is not None:
            services.append(Service("polls", self._polls.serve, in_time_s=10.0))
        self.oneshots: OneShots | None = None
        if outward is not None:
            self.oneshots = OneShots(
                outward,
                layout=layout,
                files=files,
                store=store,
                rules=lambda: self._passes.rules,
                roster=self._roster,
                queue=self._queue,
                intake=self._intake,
                alarms=self._alarms,
                control=OneShotControl(
                    self.desk,
                    books=self._books,
                    store=store,
                    commits=self._commits,
                    roster=self._roster,
                    lend=outward.lend,
                    clock=clock,
                    log=log,
                ),
                performer=self._performer,
                commits=self._commits,
                membership=self._membership,
                offload=threads.passes,
                clock=clock,
                log=log,
            )
            services.append(Service("oneshots", self.oneshots.serve, in_time_s=15.0))
        if watch is not None:
            services.append(Service("watch", self._noticing.hear, in_time_s=None))
        self._services = Services(services, clock=clock, findings=self.findings, log=log)
        self.fleet = Fleet(
            roster=self._roster,
            feed=self._feed,
            intake=self._intake,
            commits=self._commits,
            clock=clock,
            thresholds=lambda: self._passes.rules.thresholds,
            daemon=self._daemon_status,
            meters=self._meters,
        )

    def _polling(self, remote: Remote, clock: Clock, log: Log) -> Polls:
        polls = Polls(
            remote.services,
            remote.transport,
            roster=self._roster,
            intake=self._intake,
            thresholds=lambda loop_id: self._passes.rules.of(loop_id).thresholds,
            pace=lambda: self._tuning.pace,
            clock=clock,
            log=log,
        )
        self._intake.poll = polls.soon
        return polls

    def _carrying(self, services: ServicesPort, clock: Clock, log: Log) -> RemoteCarrier:
        return RemoteCarrier(
            services, books=self._books, roster=self._roster, intake=self._intake, clock=clock, log=log
        )

    def _looked(self, member: Member, decision: Decision | None) -> None:
        if decision is not None:
            self.desk.looked(member.loop_id, decision.changed)
        if self._polls is not None and member.run.ref.is_remote:
            self._polls.looked(member, decision)
        self.passed(member.loop_id)

    async def start(self) -> int:
        """Find the loops and restore them from our own files; how many there are. Nothing is looked at yet."""
        await self._modes.load()
        await self._switches.load()
        await self._profiles.load()
        await self._membership.look()
        return len(self._roster)

    async def run(self) -> None:
        """Supervise until `stop`.

        Raises:
            GaveUp: a part cannot be mended. (In an exception group, as task groups raise.)
        """
        with self._cancel:
            await self._services.run()

    async def stop(self) -> bool:
        """Take in nothing new, let what runs end, write what waits, say goodbye; whether all of it was in time."""
        self._intake.close()
        for member in self._roster:
            for request in member.requests:
                request.answer("", error="the daemon stops")
        if self.oneshots is not None:
            self.oneshots.close()
        in_time = await self._step("running passes ended", self._passes_ended.wait, _BATCHES_END_S)
        in_time &= await self._step("everything written", self._flush, _FLUSH_ENDS_S)
        self._performer.tell_unwritten()
        self._feed.close()
        self._cancel.cancel()
        return in_time

    def retune(self, tuning: Tuning) -> None:
        """Every loop is judged anew by new rules, at its next turn, which is now."""
        judged_anew = tuning.rules != self._tuning.rules
        self._tuning = tuning
        self._profiles.retune(tuning.basis)
        self._commits.interval_s = tuning.commit_interval_s
        self._passing.most_at_once = tuning.max_concurrent_passes
        self._passing.deadline_s = tuning.pass_deadline_s
        if judged_anew:
            self._intake.trigger(self._roster.loop_ids())

    def _judge_by_profiles(self, loop_ids: Sequence[LoopId]) -> None:
        """Those loops have other thresholds from their next turn on, which is now."""
        self._passes.rules = msgspec.structs.replace(self._tuning.rules, loop_thresholds=self._profiles.thresholds)
        self._intake.judge_anew(loop_ids)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._passes.rules

    @property
    def threads_left_behind(self) -> int:
        looking = self.oneshots.looking if self.oneshots is not None else 0
        return self._passing.left_behind + self._carrier.acting + looking

    async def _step(self, what: str, work: Callable[[], Awaitable[None]], limit_s: float) -> bool:
        began_s = self._clock.monotonic()
        with anyio.move_on_after(limit_s) as limit:
            await work()
        took_ms = round((self._clock.monotonic() - began_s) * 1000)
        self._log.info("daemon.stop_step", step=what, in_time=not limit.cancelled_caught, took_ms=took_ms)
        return not limit.cancelled_caught

    async def _flush(self) -> None:
        if not await self._commits.flush():
            self._log.warning("daemon.unwritten", loops=self._pending.loop_count, rows=self._pending.row_count)

    async def _serve_passes(self, beat: Callable[[], None]) -> None:
        await self._passing.serve(beat)
        self._passes_ended.set()

    async def _serve_pulse(self, beat: Callable[[], None]) -> None:
        """Once a second: whatever waits without a deadline of its own looks up, and systemd hears how we are."""
        while True:
            beat()
            self._feed.tick()
            self._intake.bell.ring()
            self._pulse(all(each.ok for each in self._services.subsystems()))
            await self._clock.sleep_until(self._clock.monotonic() + 1.0)

    def _members_changed(self) -> None:
        self._noticing.members_changed()

    def _daemon_status(self, now: datetime) -> DaemonStatus:
        return DaemonStatus(
            version=VERSION,
            api_version=API_VERSION,
            start_id=self._start_id,
            pid=os.getpid(),
            started_at=self._started_at,
            home=self._layout.home,
            registry=self._membership.registry,
            findings=self.findings.current(now),
            subsystems=self._subsystems(),
            mode=self._modes.of_fleet(now),
        )

    def _subsystems(self) -> tuple[Subsystem, ...]:
        """The watcher's trouble is told and not counted: the sweep finds what it misses."""
        found = self._services.subsystems()
        blind = self._noticing.watching
        return tuple(
            msgspec.structs.replace(each, detail=blind) if each.name == "watch" and each.ok else each for each in found
        )

    def _meters(self) -> Metrics:
        now_s = self._clock.monotonic()
        performed = self._performer.counts
        parts = self._services.subsystems()
        given_up = self._pending.dropped_rows.items()
        findings = self.findings.current(self._clock.now())
        return {
            "opsd_start_time_seconds": self._started_at.timestamp(),
            "opsd_triggers_total": self._intake.trigger_count,
            "opsd_passes_total": performed["passes"],
            "opsd_passes_broken_total": performed["broken"],
            "opsd_passes_unanswered_total": performed["unanswered"],
            "opsd_passes_overdue_total": self._passing.overdue_count,
            "opsd_threads_left_behind": self._passing.left_behind,
            "opsd_events_ingested_total": performed["events"],
            "opsd_escalations_total": _labelled("category", self._performer.escalations),
            "opsd_queue_depth": self._queue.depth,
            "opsd_queue_backing_off": self._queue.delayed,
            "opsd_queue_oldest_wait_seconds": self._queue.oldest_wait_s(now_s),
            "opsd_deadlines": len(self._alarms),
            "opsd_commits_total": self._commits.commit_count,
            "opsd_commit_failures_total": self._commits.failure_count,
            "opsd_commit_duration_seconds": self._commits.last_duration_s,
            "opsd_pending_loops": self._pending.loop_count,
            "opsd_pending_rows": self._pending.row_count,
            "opsd_rows_given_up_total": {("journal", journal.value): count for journal, count in given_up},
            "opsd_store_faults_total": self._commits.fault_count,
            "opsd_notices_total": self._noticing.notice_count,
            "opsd_notices_missed_total": self._noticing.missed_count,
            "opsd_watching": self._noticing.watching is None,
            "opsd_subsystem_ok": {("name", each.name): float(each.ok) for each in parts},
            "opsd_subsystem_age_seconds": {("name", each.name): each.age_s for each in parts if each.age_s is not None},
            "opsd_intents_total": dict(self._books.counts),
            "opsd_intents_open": _by_status(self._books.open()),
            "opsd_intents_acting": self._carrier.acting,
            "opsd_intent_rows_unwritten": self._books.unwritten,
            "opsd_polls_total": self._polls.count if self._polls is not None else 0,
            "opsd_polls_failed_total": self._polls.failure_count if self._polls is not None else 0,
            "opsd_daemon_findings": {("code", each.code): 1.0 for each in findings},
        }


def _by_status(intents: Iterable[Intent]) -> dict[tuple[str, ...], float]:
    return dict(Counter(("status", intent.status.value) for intent in intents))


def _labelled(name: str, counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(name, value): count for value, count in counts.items()}
