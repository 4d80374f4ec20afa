"""The registry of reasons is complete, and what it tells people can be acted on."""

import re

import pytest

from opsctl.arguments import build_parser
from opsd.core.findings import RULES
from opsd.model.health import Severity
from opsd.model.reasons import REASONS, ReasonEntry, registry_of

# Loop-core 8.2; the words that tooling outside compares.
CONTRACT = {
    "divergence_detected",
    "control_ambiguous",
    "control_failed_command",
    "ingest_stale",
    "runtime_heartbeat_stale",
    "transport_unreachable",
    "ordering_drift_detected",
    "invalid_transport_payload",
    "projection_failed",
    "reconcile_failed",
}
# Found by the fleet's supervision, by the store and in telemetry, not by looking at one run.
ELSEWHERE = {
    "loop_id_reserved",
    "loop_id_unsafe",
    "loop_outside_repo",
    "loop_disabled",
    "transport_not_supported",
    "registry_invalid",
    "store_corrupt",
    "store_unwritable",
    "watch_blind",
    "pass_failed",
    "pass_overdue",
    "manager_silent",
    "settings_invalid",
    "subsystem_failed",
    "modes_unreadable",
    "transports_unreadable",
    "profiles_unreadable",
    "profile_unusable",
    "profile_drift_detected",
}


def test_every_code_that_a_rule_can_find_is_registered_and_no_other() -> None:
    found = [code for rule in RULES for code in rule.codes]

    assert len(found) == len(set(found)), "two rules find the same code"
    assert set(found) | ELSEWHERE == set(REASONS)


def test_the_contracts_codes_are_marked_and_no_other() -> None:
    assert {code for code, entry in REASONS.items() if entry.contract} == CONTRACT


@pytest.mark.parametrize("entry", REASONS.values(), ids=lambda entry: entry.code)
def test_every_reason_says_what_it_means_and_what_to_do(entry: ReasonEntry) -> None:
    """An operator reads these two sentences at night, with nothing else at hand."""
    for sentence in (entry.says, entry.next_step):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert entry.code not in entry.says, "a code does not explain itself"
    assert entry.severity is not Severity.CRITICAL or re.search(r"`[^`]+`|Make room|Check", entry.next_step)


def test_every_command_that_a_next_step_names_exists() -> None:
    (usage,) = re.findall(r"^commands:\n(.*?)\n\n", build_parser().format_help(), re.MULTILINE | re.DOTALL)
    commands = set(re.findall(r"^ {4}(\w+)", usage, re.MULTILINE))
    named = {word for entry in REASONS.values() for word in re.findall(r"opsctl (\w+)", entry.next_step)}

    assert {"status", "start"} <= commands, "the list of commands was not found"
    assert named <= commands


def test_a_code_registered_twice_does_not_start() -> None:
    twice = ReasonEntry("run_stuck", Severity.INFO, "Said.", "Done.")

    with pytest.raises(ValueError, match="run_stuck is registered twice"):
        registry_of(twice, twice)
