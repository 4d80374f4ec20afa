"""Effects with a name, so that a test can say which it expects and in which order."""

from collections.abc import Iterable

import msgspec

from opsd.model.effects import Append, Document, Journal, Replace


class Named(msgspec.Struct, frozen=True):
    name: str


def a_row(name: str, journal: Journal = Journal.ESCALATIONS) -> Append:
    return Append(journal, Named(name), durable=journal is Journal.ESCALATIONS)


def a_document(document: Document, version: str) -> Replace:
    return Replace(document, Named(version))


def named(effects: Iterable[Append | Replace]) -> list[str]:
    names = []
    for effect in effects:
        match effect:
            case Append(row=Named(name)):
                names.append(name)
            case Replace(document=document, record=Named(name)):
                names.append(f"{document.value}={name}")
            case other:
                raise AssertionError(f"no effect of these tests: {other}")
    return names
