"""What the daemon says about itself: events with a fixed dotted name and key-values, one per line on stderr.

`EVENTS` lists every name that opsd logs; a test compares it with the code, and the reference page is made from it.
The core does not log, and a pass that changed nothing is not worth a line.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

Log = FilteringBoundLogger

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "console", "json", "journal")

EVENTS: Mapping[str, str] = {
    "daemon.starting": "The process begins: version, home, pid.",
    "daemon.started": "The home is locked, the loops are restored from our own files.",
    "daemon.ready": "The socket listens and every subsystem runs.",
    "daemon.stopping": "The stop began: by which signal, or because of which failure.",
    "daemon.stop_step": "One step of the stop ended: which, whether in time, how long it took.",
    "daemon.unwritten": "The stop could not write everything: the next start reads the logs again from there.",
    "daemon.stopped": "The last line: with which code the process ends.",
    "daemon.refused": "The daemon could not start: home or socket are somebody else's, or cannot be used.",
    "daemon.failed": "A fault of ours ends the daemon.",
    "settings.reloaded": "SIGHUP: the settings were read again; `changed` names those that took effect.",
    "settings.rejected": "SIGHUP: the new settings are bad; the old ones stay in force.",
    "settings.unknown": "A variable that looks like a setting of opsd is none.",
    "registry.changed": "The fleet registry, or what discovery finds, has a new content.",
    "registry.rejected": "The fleet registry cannot be believed; the last valid one stays in force.",
    "registry.recovered": "The fleet registry can be believed again.",
    "loop.added": "A loop is supervised from now on.",
    "loop.removed": "A loop left the registry, or its folder is gone.",
    "loop.changed": "A loop's registry entry changed.",
    "run.changed": "Lifecycle, phase, health or run of a loop changed: before and after.",
    "escalation.raised": "A row was added to a loop's escalations.jsonl.",
    "escalation.unwritten": "The disk refused rows of a loop's escalations.jsonl until the stop; they are told anyway.",
    "pass.failed": "A pass broke on a fault of ours; the loop is tried again after a backoff.",
    "pass.recovered": "A loop whose passes broke can be looked at again.",
    "oneshot.failed": "What a one-shot command had asked for broke on a fault of ours; the command said so and failed.",
    "pass.overdue": "A batch of passes exceeded its time; its thread was left behind.",
    "pass.returned": "A thread that had been left behind came back.",
    "commit.failed": "Our own files cannot be written; passes go on in memory.",
    "commit.recovered": "Our own files can be written again.",
    "store.removed": "One of our own documents is gone: an operator removed it, and the log is read from its start.",
    "store.fault": "One of our own files made no sense and was set aside or mended.",
    "watch.armed": "Change notice runs, for the first time or anew: over how many folders.",
    "watch.blind": "Change notice misses changes; the sweep finds them.",
    "watch.sees": "Change notice finds changes again.",
    "clock.stepped": "The wall clock was set: the wake list was mapped anew.",
    "service.failed": "A part of the daemon ended with an error and is started again after a backoff.",
    "service.gave_up": "A part of the daemon cannot be mended by starting it again; the daemon ends.",
    "api.request": "A request over the socket, with the peer's uid, pid and user: acts and refusals, reads at debug.",
    "sprite.beside": "The service answers beside the daemon that holds the home, and hands on to it whatever acts.",
    "sprite.listening": "The service inside a sprite takes requests: where, and whether they need a token.",
    "sprite.request": "A request over TCP: what changes something or was refused for the token, reads at debug level.",
    "sprite.token_unusable": "The service's token cannot be read any more; nobody is let in until it can.",
    "sprite.old_keys": "Idempotency keys of the service that was here before are honoured.",
    "sprite.old_keys_unreadable": "Their file makes no sense; it counts as empty, as it did to that service.",
    "library.logged": "A line from a library's own log.",
    "intent.recorded": "An intent was taken in and is on the disk: loop, id, kind, who asked.",
    "intent.refused": "An intent was turned down: with which code; nothing was done.",
    "intent.executing": "An intent is carried out now: with which command.",
    "intent.settled": "An intent came to its end, or to nobody knows: status, and which evidence or refusal.",
    "intent.staged": "A recorded decision was taken up by a run, or its run completed.",
    "intent.acknowledged": "An operator settled an ambiguous intent by his word: who, why.",
    "intent.ack_forwarded": "The sprite's own record of that intent was settled as well.",
    "intent.ack_not_forwarded": "The sprite's own record of that intent stays open: why.",
    "intent.broken": "A fault of ours over one intent; the others go on.",
    "intent.unwritable": "Rows of intents cannot be written, and intents are refused; one line until it works again.",
    "intent.writable": "Rows of intents can be written again.",
    "mode.set": "Somebody set a mode: for which loop or the fleet, until when, why.",
    "mode.expired": "A mode came to the end that was set for it.",
    "mode.unreadable": "The modes cannot be read; until one is set, no intent is carried out.",
    "transport.set": "Somebody switched a loop to another transport: which, who, why.",
    "profile.set": "Somebody chose a profile of thresholds for a loop, or ended that: which, who, why.",
    "profile.unreadable": "Which profiles were chosen cannot be read; what cannot be read does not hold.",
    "profile.unusable": "A profile that was chosen for a loop cannot be used any more; the loop has the usual one.",
    "transport.unreadable": "How loops were switched cannot be read; they are reached as the registry says.",
}


def configure(*, level: str, form: str, stream: TextIO | None = None, journal_stream: str | None = None) -> None:
    """Decide once per process where log events go. `journal_stream` is the variable JOURNAL_STREAM, if there is one.

    `auto` is `console` on a terminal, `journal` (JSON behind `<priority>`) where stderr is the system's journal, and
    `json` elsewhere.
    """
    to = stream or sys.stderr
    if form == "auto":
        form = "console" if to.isatty() else "journal" if _is_journal(to, journal_stream) else "json"
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *_renderers(form),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(to),
        cache_logger_on_first_use=False,
    )
    # Libraries warn about what they could not do for us; their chatter below that is not ours to repeat.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_FromLibraries()], force=True)


def logger() -> Log:
    log: Log = structlog.get_logger()
    return log


def reference_page() -> str:
    """`docs/reference/log-events.md`, made from `EVENTS`."""
    rows = "\n".join(f"| `{name}` | {says} |" for name, says in sorted(EVENTS.items()))
    return (
        "# Log events\n\n"
        "Written by `make docs` from `opsd/logs.py`; edit the table there.\n\n"
        "opsd logs to stderr, one event per line: for people on a terminal, as JSON lines elsewhere. The names are\n"
        "interface: they do not change without a word in the changelog.\n\n"
        f"| event | when |\n| --- | --- |\n{rows}\n"
    )


def _renderers(form: str) -> list[Processor]:
    match form:
        case "console":
            return [_defuse, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        case "journal":
            return [_to_json, _with_priority]
        case _:
            return [_to_json]


_encoder = msgspec.json.Encoder(enc_hook=str)
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def _to_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    head = {"at": event.pop("timestamp"), "level": event.pop("level"), "event": event.pop("event")}
    return _encoder.encode({**head, **event}).decode()


def _with_priority(_: WrappedLogger, method: str, line: EventDict | str) -> str:
    return f"<{_PRIORITIES.get(method, 6)}>{line}"


def _defuse(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Text from a run may carry what a terminal would obey. A traceback's own line breaks stay."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = repr(value)
    return event


def _is_journal(stream: TextIO, journal_stream: str | None) -> bool:
    """Whether the stream is the one that systemd connected to the journal: device and inode say so."""
    if not journal_stream:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


class _FromLibraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        told = {"library": record.name, "message": record.getMessage(), "exc_info": record.exc_info}
        if record.levelno >= logging.ERROR:
            logger().error("library.logged", **told)
        else:
            logger().warning("library.logged", **told)
