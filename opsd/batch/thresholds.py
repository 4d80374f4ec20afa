"""Which thresholds a command works with: flags over the profile; it by flag, environment, recorded choice or catalog.

Fail-closed: what is unknown or makes no sense ends the command before anything is done. Source: loop-core 12.
"""

import argparse
from typing import Final

from opsd import shipped
from opsd.batch.command import CommandError, Outside, Parser, whole_number
from opsd.core.thresholds import ThresholdError, catalog_from, resolve
from opsd.model.ids import LoopId
from opsd.model.thresholds import ProfileCatalog, Thresholds
from opsd.store.layout import Layout

CATALOG_VARIABLE: Final = "OPS_MANAGER_THRESHOLD_PROFILES_FILE"
PROFILE_VARIABLE: Final = "OPS_MANAGER_THRESHOLD_PROFILE"
_CATALOG_BYTES_MAX: Final = 1 << 20
LIMITS: Final = Thresholds.__struct_fields__[1:]


def add_limits(parser: Parser) -> None:
    """A flag for each single threshold."""
    for name in LIMITS:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", help="overrides the profile")


def overrides(given: argparse.Namespace) -> dict[str, int]:
    """The single values that were given as flags."""
    told = {name: getattr(given, name) for name in LIMITS}
    return {
        name: whole_number(f"--{name.replace('_', '-')}", text) for name, text in told.items() if text not in (None, "")
    }


def catalog_path(flag: str | None, outside: Outside) -> str:
    return flag or outside.variable(CATALOG_VARIABLE) or shipped.config(shipped.THRESHOLD_PROFILES)


def catalog_bytes(path: str, outside: Outside, *, flag: str = "--thresholds-file") -> bytes:
    """
    Raises:
        CommandError: there is no such file; `flag` names one.
    """
    try:
        return outside.files.read(path, 0, _CATALOG_BYTES_MAX)[1]
    except OSError as error:
        problem = "not found" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise CommandError(f"threshold profiles file {problem}: {path}; name one with {flag}") from None


def read_catalog(path: str, outside: Outside, *, flag: str = "--thresholds-file") -> ProfileCatalog:
    """
    Raises:
        CommandError: there is no such file, or it is no catalog.
    """
    try:
        return catalog_from(catalog_bytes(path, outside, flag=flag), path)
    except ThresholdError as error:
        raise CommandError(str(error)) from None


def resolved(catalog: ProfileCatalog, profile: str | None, values: dict[str, int]) -> Thresholds:
    """
    Raises:
        CommandError: no such profile, or values that contradict each other.
    """
    try:
        return resolve(catalog, profile=profile, overrides=values)
    except ThresholdError as error:
        raise CommandError(str(error)) from None


def in_force(
    given: argparse.Namespace, outside: Outside, catalog: ProfileCatalog, layout: Layout, loop_id: LoopId
) -> Thresholds:
    """Flags over the profile; the profile by flag, by environment, as an operator chose it for the loop, by default.

    Raises:
        CommandError: nobody can say which profile that is, or it cannot be used.
    """
    named = given.threshold_profile or outside.variable(PROFILE_VARIABLE)
    chosen = None if named else _chosen(layout, loop_id, outside)
    try:
        return resolve(catalog, profile=named or chosen, overrides=overrides(given))
    except ThresholdError as error:
        if chosen is None:
            raise CommandError(str(error)) from None
        where = f"it was chosen for loop {loop_id} in {layout.profiles}"
        raise CommandError(f"{error}; {where}: choose another there, or name one with --threshold-profile") from None


def _chosen(layout: Layout, loop_id: LoopId, outside: Outside) -> str | None:
    """The profile that an operator chose for the loop. Where nobody ever chose one, nothing more is loaded."""
    try:
        if outside.files.stat(layout.profiles) is None:
            return None
    except OSError as error:
        raise _unreadable(f"{layout.profiles}: {error.strerror}") from None
    from opsd.core.profiles import standing
    from opsd.model.profile import ProfileRow
    from opsd.store.rowfile import RowFile

    rows, problem = RowFile(layout, outside.files, layout.profiles, ProfileRow).load()
    if problem is not None:
        raise _unreadable(problem)
    row = standing(rows).get(loop_id)
    return None if row is None else row.profile


def _unreadable(problem: str) -> CommandError:
    return CommandError(f"{problem}; mend or remove that, or name a profile with --threshold-profile")
