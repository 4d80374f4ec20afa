"""Small faults put into opsd's handling of intents on purpose, to see whether the histories would notice them.

How they get there is `tests.simulation.mutants`.
"""

from collections.abc import Mapping

from tests.simulation.mutants import Mutant

MUTANTS: Mapping[str, Mutant] = {
    "the log of intents is not flushed": Mutant(
        "opsd.core.intents.rows", "(Journal.INTENT_LOG, intent, durable=True)", "(Journal.INTENT_LOG, intent)"
    ),
    "what cannot be written down is done": Mutant(
        "opsd.supervisor.books",
        "if ticket.problem is not None:\n                raise CannotRecord(ticket.problem)",
        "pass",
    ),
    "what was only recorded is executed by the next start": Mutant(
        "opsd.core.intents.life",
        'return expired(intent, "opsd_restarted", now) if intent.status is IntentStatus.RECORDED else intent',
        "return intent",
    ),
    "what was being executed is executed again by the next start": Mutant(
        "opsd.core.intents.life",
        'return expired(intent, "opsd_restarted", now) if intent.status is IntentStatus.RECORDED else intent',
        "return replace(intent, status=IntentStatus.RECORDED) if intent.status is IntentStatus.EXECUTING else intent",
    ),
    "the watermark counts for nothing": Mutant("opsd.core.intents.beyond", "event.line > mark.line and (", "True or ("),
    "what stands at the watermark counts as beyond it": Mutant(
        "opsd.core.intents.beyond", "event.line > mark.line", "event.line >= mark.line"
    ),
    "a decision counts on whichever candidate it is": Mutant(
        "opsd.core.intents.decision", "approval.digest == mark.candidate", "approval.status is not None"
    ),
    "a cancel is believed while the process lives": Mutant(
        "opsd.core.intents.cancel_start",
        "elif scene.watched is ProcessSighting.ABSENT:",
        "elif scene.watched is not ProcessSighting.NONE:",
    ),
    "nobody asks when a process began": Mutant(
        "opsd.app.control",
        "return processes.sighting(watermark.pid, instants.parse(watermark.begun))",
        "return processes.sighting(watermark.pid, None)",
    ),
    "neighbours are not looked at": Mutant(
        "opsd.core.intents.gate", '_CANCEL, "another loop of the checkout', 'frozenset(), "another loop of the checkout'
    ),
    "there is no last look": Mutant(
        "opsd.supervisor.carrying",
        "refusal = gate.refuse(intent, run, scene, scene.at) or gate.moved(intent, scene)",
        "refusal = None",
    ),
    "the last look does not see the mode": Mutant(
        "opsd.supervisor.carrying", "run = member.run  # somebody may have set another mode since", "pass"
    ),
    "a key answers for any request": Mutant(
        "opsd.core.intents.book", "if holder is None or holder.fingerprint == fingerprint:", "if True:"
    ),
    "keys are forgotten": Mutant(
        "opsd.supervisor.desk", "if request.idempotency_key is not None and not request.dry_run and", "if False and"
    ),
    "what is told outside is flushed before the log": Mutant(
        "opsd.store.commit",
        "self._flush(self._append_durable(parts, faults, now, logs=True))\n"
        "        self._make_logs_lasting(parts)\n"
        "        self._flush(self._append_durable(parts, faults, now, logs=False))",
        "self._flush(self._append_durable(parts, faults, now, logs=False))\n"
        "        self._flush(self._append_durable(parts, faults, now, logs=True))",
    ),
    "what a crash kept from being told stays untold": Mutant(
        "opsd.app.restore", "store.mend_intents(ref.loop_id, now) if stored.intents else Mended()", "Mended()"
    ),
    "a log that was left unflushed is told of": Mutant("opsd.store.commit", "self._make_logs_lasting(parts)", "pass"),
    "what the disk refuses is dropped": Mutant(
        "opsd.supervisor.books", "self._unwritten[loop_id] = (*left, *self._unwritten.get(loop_id, ()))", "pass"
    ),
    "a log that cannot be read counts as empty": Mutant(
        "opsd.supervisor.books", "if loop.unread is not None:", "if False:"
    ),
    "what is ambiguous is never looked at again": Mutant("opsd.supervisor.desk", "self._to_look.add(loop_id)", "pass"),
    "two words on one intent both count": Mutant(
        "opsd.supervisor.desk",
        "async with self._settling:\n            intent = self._books.named(intent_id)",
        "if True:\n            intent = self._books.named(intent_id)",
    ),
}
