"""Plausible loop ids, the same for the same seed. Pure."""

import itertools
import random

_THINGS = (
    "checkout", "search", "billing", "login", "export", "invoice", "profile", "upload", "catalog", "inbox",
    "report", "payment", "session", "webhook", "pricing", "onboarding", "audit", "cache", "shipping", "refund",
)  # fmt: skip
_CHANGES = (
    "retry", "index", "rate-limit", "cleanup", "migration", "pagination", "timeouts", "validation", "dark-mode",
    "filters", "i18n", "metrics", "permissions", "schema", "dedupe", "archive", "preview", "batching", "undo",
)  # fmt: skip


def loop_ids(count: int, seed: int) -> list[str]:
    """`count` different ids such as `checkout-retry`; once the names are used up, `checkout-retry-2` and so on."""
    names = [f"{thing}-{change}" for thing, change in itertools.product(_THINGS, _CHANGES)]
    random.Random(f"names/{seed}").shuffle(names)
    rounds = (name if lap == 1 else f"{name}-{lap}" for lap in itertools.count(1) for name in names)
    return list(itertools.islice(rounds, count))
