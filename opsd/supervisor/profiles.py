"""Keeps which profiles of thresholds operators chose for loops: on the disk before it holds, in force over restarts.

What a choice comes to is `opsd.core.profiles`; the passes judge by it through `opsd.core.reconcile.Rules`.
"""

from collections.abc import Callable, Mapping, Sequence

from opsd.app.desk import CannotRecord, UnknownProfile, UnusableProfile
from opsd.app.profiles import profile_of, profile_page
from opsd.core import profiles as rules
from opsd.core.profiles import Chosen
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.profile import ProfileRow
from opsd.model.thresholds import ThresholdBasis, Thresholds
from opsd.ports import Clock
from opsd.protocol import ProfilePage, ProfileReply, ProfileRequest
from opsd.store.faults import StoreError
from opsd.store.store import Store
from opsd.supervisor.commits import Commits
from opsd.supervisor.findings import DaemonFindings


class ProfileKeeper:
    """`thresholds` are those of the loops that have some of their own; `changed` is called with the loops for which
    they may be others than before."""

    def __init__(
        self,
        store: Store,
        *,
        commits: Commits,
        findings: DaemonFindings,
        clock: Clock,
        log: Log,
        basis: ThresholdBasis,
        changed: Callable[[Sequence[LoopId]], None],
    ) -> None:
        self.thresholds: Mapping[LoopId, Thresholds] = {}
        self._store = store
        self._commits = commits
        self._findings = findings
        self._clock = clock
        self._log = log
        self._basis = basis
        self._changed = changed
        self._chosen: dict[LoopId, Chosen] = {}

    async def load(self) -> None:
        """What was chosen before this start. What cannot be read does not hold."""
        rows, problem = await self._commits.apart(self._store.load_profiles)
        if problem is not None:
            self._findings.add("profiles_unreadable", problem, self._clock.now())
            self._log.error("profile.unreadable", problem=problem)
        self._become(rules.standing(rows))

    def retune(self, basis: ThresholdBasis) -> None:
        """Every choice is judged anew by another catalog, or by other values that were set for all."""
        self._basis = basis
        self._become({loop_id: chosen.row for loop_id, chosen in self._chosen.items()})

    def is_chosen(self, loop_id: LoopId) -> bool:
        return loop_id in self._chosen

    def told(self, loop_id: LoopId) -> ProfileReply:
        """Which thresholds the loop has, and why."""
        return profile_of(loop_id, self._chosen.get(loop_id), self._basis, self._clock.now())

    def listed(self) -> ProfilePage:
        return profile_page(self._basis, self._clock.now())

    async def set(self, loop_id: LoopId, request: ProfileRequest, actor: Actor) -> None:
        """
        Raises:
            UnknownProfile, UnusableProfile: the loop's thresholds are what they were.
            CannotRecord: the disk refuses it, so they are as well.
        """
        row = ProfileRow(
            timestamp=self._clock.now(),
            loop_id=loop_id,
            by=request.by or actor.user,
            actor=actor,
            schema_version="v1",
            profile=request.profile,
            reason=request.reason,
        )
        if row.profile is not None and (problem := (chosen := rules.judged(row, self._basis)).problem) is not None:
            raise UnknownProfile(problem) if chosen.unknown else UnusableProfile(problem)
        try:
            await self._commits.apart(lambda: self._store.append_profile(row))
        except StoreError as error:
            raise CannotRecord(str(error)) from None
        self._findings.clear("profiles_unreadable")
        self._log.warning(
            "profile.set", loop_id=loop_id, profile=row.profile, by=row.by, user=actor.user, reason=row.reason
        )
        self._become(rules.standing([*(each.row for each in self._chosen.values()), row]))

    def _become(self, rows: Mapping[LoopId, ProfileRow]) -> None:
        before, now = self.thresholds, self._clock.now()
        for loop_id in self._chosen.keys() - rows.keys():
            self._findings.clear("profile_unusable", about=loop_id)
        self._chosen = {loop_id: rules.judged(row, self._basis) for loop_id, row in rows.items()}
        for loop_id, chosen in self._chosen.items():
            if chosen.problem is None:
                self._findings.clear("profile_unusable", about=loop_id)
            elif self._findings.add("profile_unusable", f"{loop_id}: {chosen.problem}", now, about=loop_id):
                self._log.error("profile.unusable", loop_id=loop_id, profile=chosen.row.profile, problem=chosen.problem)
        self.thresholds = {
            loop_id: chosen.thresholds for loop_id, chosen in self._chosen.items() if chosen.thresholds is not None
        }
        loops = sorted(before.keys() | self.thresholds.keys())
        self._changed([loop_id for loop_id in loops if before.get(loop_id) != self.thresholds.get(loop_id)])
