"""What is shown of the thresholds of a loop, of the catalog's profiles, and of the advice that telemetry gives.

Which thresholds hold is `opsd.core.profiles`, what is advised `opsd.core.tuning`.
"""

import shlex
from datetime import datetime

import msgspec
from msgspec.structs import replace

from opsd.core.profiles import Chosen, of_all
from opsd.core.thresholds import ThresholdError, resolve
from opsd.model.ids import LoopId
from opsd.model.run import Run
from opsd.model.thresholds import ProfileCatalog, ThresholdBasis
from opsd.model.tuning import TuningBlock
from opsd.protocol import ProfileItem, ProfilePage, ProfileReply, ProfileSource, TuningReply


def profile_of(loop_id: LoopId, chosen: Chosen | None, basis: ThresholdBasis, now: datetime) -> ProfileReply:
    """Which thresholds the loop has, and why; `chosen` is what an operator chose for it.

    Raises:
        ThresholdError: `basis` cannot be used even for loops for which nobody chose.
    """
    own = chosen.thresholds if chosen is not None else None
    thresholds = own or of_all(basis)
    for_all = ProfileSource.SETTINGS if basis.profile else ProfileSource.CATALOG
    values = basis.catalog.profiles.get(thresholds.profile or "")
    reply = ProfileReply(
        at=now,
        loop_id=loop_id,
        source=ProfileSource.CHOSEN if own is not None else for_all,
        thresholds=thresholds,
        description=values.description if values is not None else None,
        overridden=tuple(sorted(basis.overrides)),
    )
    if chosen is None:
        return reply
    row = chosen.row
    return replace(reply, chosen=row.profile, by=row.by, since=row.timestamp, reason=row.reason, problem=chosen.problem)


def profile_page(basis: ThresholdBasis, now: datetime) -> ProfilePage:
    """Every profile of the catalog by name, also those that nobody could choose."""
    catalog = basis.catalog
    names = sorted({*catalog.profiles, *catalog.refused})
    return ProfilePage(now, basis.profile or catalog.default_profile, tuple(_item(catalog, name) for name in names))


def tuning_of(run: Run, profile: ProfileReply, page: ProfilePage) -> TuningReply:
    """What the newest telemetry sample advised for the loop, beside what is in force."""
    tuning = _read(run.tuning)
    advised = tuning.recommended_profile if tuning is not None else None
    can_be_chosen = advised in {item.name for item in page.profiles if item.values is not None}
    is_sure = run.drift is not None and run.drift.confidence_ok
    follow = None
    if advised is not None and advised != profile.thresholds.profile and can_be_chosen and is_sure:
        follow = f"opsctl profile {shlex.quote(run.ref.loop_id)} --set {shlex.quote(advised)} --reason ..."
    return TuningReply(profile.at, run.ref.loop_id, profile, tuning, run.drift, follow)


def _read(tuning: msgspec.Raw | None) -> TuningBlock | None:
    """None as well where another manager wrote something else into the state."""
    if tuning is None:
        return None
    try:
        return msgspec.json.decode(tuning, type=TuningBlock)
    except msgspec.DecodeError:
        return None


def _item(catalog: ProfileCatalog, name: str) -> ProfileItem:
    try:
        resolve(catalog, profile=name, overrides={})
    except ThresholdError as error:
        return ProfileItem(name, problem=str(error))
    return ProfileItem(name, catalog.profiles[name])
