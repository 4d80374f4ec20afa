"""Small faults put into the rules of intents on purpose, to see whether their tests would notice them.

`python -m tests.core.intents.mutants NAME` runs the tests of the module that has the fault: it must end with 1.
"""

import sys
from pathlib import Path

from tests.simulation.mutants import Mutant, put_in

MUTANTS: dict[str, Mutant] = {
    "the digest forgets when it was asked": Mutant(
        "opsd.core.intents.identity", '("run_id", "iteration", "requested_at", "candidate")', '("run_id", "iteration")'
    ),
    "an unknown neighbour counts as gone": Mutant(
        "opsd.core.intents.scenery",
        "scene.active_process is ProcessSighting.ABSENT",
        "scene.active_process in (ProcessSighting.ABSENT, ProcessSighting.UNKNOWN)",
    ),
    "a neighbour without a process on file is forgotten": Mutant(
        "opsd.core.intents.gate",
        'return Objection(f"state.json calls {marked} active, and nothing proves that it is not.")',
        "return None",
    ),
    "a clearing start is not asked about neighbours": Mutant(
        "opsd.core.intents.gate",
        "return _neighbour(question) if question.intent.options.clear_stale and is_left_over(question.scene) else None",
        "return None",
    ),
    "an override needs no reason": Mutant(
        "opsd.core.intents.gate",
        "if options.override_divergence and question.intent.reason.strip():",
        "if options.override_divergence:",
    ),
    "a run that has not been read yet passes for the one that was seen": Mutant(
        "opsd.core.intents.gate", "(active_run.pid, active_run.updated_at) == (known.pid, known.begun)", "True"
    ),
    "the last look does not compare candidates": Mutant(
        "opsd.core.intents.gate", "if digest == mark.candidate:", "if digest is not None:"
    ),
    "a stopped run is cancelled without being continued": Mutant(
        "opsd.core.intents.acts",
        "if ProcessSighting.STOPPED in (scene.active_process, *scene.family):",
        "if False:",
    ),
    "what lies on the watermark's line is beyond it": Mutant(
        "opsd.core.intents.beyond", "event.line > mark.line", "event.line >= mark.line"
    ),
    "what had not been read at the watermark is beyond it": Mutant(
        "opsd.core.intents.beyond", "and (event.at is None or event.at >= whole(mark.at))", ""
    ),
    "an unknown process confirms a cancel": Mutant(
        "opsd.core.intents.cancel_start",
        "elif scene.watched is ProcessSighting.ABSENT:",
        "elif scene.watched in (ProcessSighting.ABSENT, ProcessSighting.UNKNOWN):",
    ),
    "a cancel is confirmed by its process alone": Mutant(
        "opsd.core.intents.cancel_start", "if is_marked_active(scene, run.ref.loop_id):", "if False:"
    ),
    "a launch that ended is believed before the log was read": Mutant(
        "opsd.core.intents.cancel_start", "if not _is_read_since(run, scene):", "if False:"
    ),
    "a decision on any candidate will do": Mutant(
        "opsd.core.intents.decision",
        "if approval is not None and approval.digest == mark.candidate:",
        "if approval is not None:",
    ),
    "a decision from before the act will do": Mutant(
        "opsd.core.intents.decision",
        "if decided_at is not None and decided_at < whole(mark.at):",
        "if False:",
    ),
    "a decision in the log is not asked which way it went": Mutant(
        "opsd.core.intents.decision", "if status != wanted:", "if False:"
    ),
    "one stopped process is a paused run": Mutant(
        "opsd.core.intents.pause_resume",
        "others = sum(process is not wanted for process in scene.family)",
        "others = wanted not in scene.family",
    ),
    "a restart goes on with what was recorded": Mutant(
        "opsd.core.intents.life", "if intent.status is IntentStatus.RECORDED else intent", "if False else intent"
    ),
    "a command that was killed has failed": Mutant(
        "opsd.core.intents.life",
        "failed = told is not None and (told.problem in _NOTHING_DONE or bool(told.exit_code))",
        "failed = told is not None",
    ),
    "a key is free once its intent has failed": Mutant(
        "opsd.core.intents.book",
        "if intent.idempotency_key == key and intent.status not in NEVER_EXECUTED:",
        "if intent.idempotency_key == key and intent.status not in {*NEVER_EXECUTED, 'failed_command'}:",
    ),
    "a late pause outdoes a later resume": Mutant(
        "opsd.core.intents.book", "one is None or one.ordinal <= other.ordinal", "one is None or True"
    ),
    "an operator's word claims a proof": Mutant(
        "opsd.core.intents.rows", "else IntentStatus.EXECUTED_UNCONFIRMED", "else IntentStatus.CONFIRMED"
    ),
    "a loop's normal lifts the fleet's observe": Mutant(
        "opsd.core.modes",
        "for row in (_fleets(modes, now), modes.loops.get(loop_id))",
        "for row in (modes.loops.get(loop_id, _fleets(modes, now)),)",
    ),
}


# Whose tests do not bear the module's own name.
_TESTED_BY = {
    "cancel_start": "test_evidence.py",
    "decision": "test_evidence.py",
    "modes": "../test_modes.py",
    "pause_resume": "test_evidence.py",
    "scenery": "test_gate.py",
}


def main(name: str) -> int:
    mutant = MUTANTS[name]
    put_in(mutant)
    import pytest  # what pytest loads must not have been loaded before the fault is in

    module = mutant.module.rpartition(".")[2]
    tests = Path(__file__).parent / _TESTED_BY.get(module, f"test_{module}.py")
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", str(tests)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
