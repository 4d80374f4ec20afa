"""What is shown of the thresholds of a loop and of the catalog's profiles. Which ones hold is `opsd.core.profiles`."""

from datetime import datetime

from msgspec.structs import replace

from opsd.core.profiles import Chosen, of_all
from opsd.core.thresholds import ThresholdError, resolve
from opsd.model.ids import LoopId
from opsd.model.thresholds import ProfileCatalog, ThresholdBasis
from opsd.protocol import ProfileItem, ProfilePage, ProfileReply, ProfileSource


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


def _item(catalog: ProfileCatalog, name: str) -> ProfileItem:
    try:
        resolve(catalog, profile=name, overrides={})
    except ThresholdError as error:
        return ProfileItem(name, problem=str(error))
    return ProfileItem(name, catalog.profiles[name])
