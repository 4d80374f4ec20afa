"""Show one threshold profile of the catalog, or with --list the names of all.

Without --profile it is the catalog's default. Source: loop-core 12.2.
"""

import argparse

import msgspec

from opsd.batch import thresholds
from opsd.batch.command import Outcome, Outside, Parser, add_pretty, printed


class _Values(msgspec.Struct, frozen=True, rename="camel"):
    degraded_ingest_lag_seconds: int
    critical_ingest_lag_seconds: int
    degraded_transport_failure_streak: int
    critical_transport_failure_streak: int


class _Resolved(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    schema_version: str
    source_file: str
    profile: str
    values: _Values
    description: str | None = None


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--profiles-file", metavar="FILE", help=f"{thresholds.CATALOG_VARIABLE} by default")
    parser.add_argument("--profile", metavar="NAME", help="the catalog's own default by default")
    parser.add_argument("--list", action="store_true", help="the names in the catalog, one per line")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    path = thresholds.catalog_path(given.profiles_file, outside)
    catalog = thresholds.read_catalog(path, outside, flag="--profiles-file")
    if given.list:
        names = sorted({*catalog.profiles, *catalog.refused})
        return Outcome("".join(f"{name}\n" for name in names).encode())
    chosen = thresholds.resolved(catalog, given.profile, {})
    name = chosen.profile or ""
    values = msgspec.convert(chosen, _Values, from_attributes=True)
    document = _Resolved(catalog.schema_version, path, name, values, catalog.profiles[name].description)
    return Outcome(printed(document, pretty=given.pretty))
