"""The search parameters of AuditEvent in each release, evaluated on entries of the audit trail."""

from collections.abc import Iterator, Mapping

from broker.clock import to_instant
from broker.fhir.audit_events import CODES
from broker.model.audit import ChainedEntry
from broker.model.release import Release
from broker.model.search import ParameterType
from broker.services.search import Fields, SearchField

_TOKEN, _REFERENCE = ParameterType.TOKEN, ParameterType.REFERENCE


def _entities(chained: ChainedEntry) -> Iterator[str]:
    """A resource is found with and without its version."""
    for entity in chained.entry.entities:
        yield from (entity.reference, f"{entity.type}/{entity.id}")
    yield from chained.entry.patients


def _type(chained: ChainedEntry) -> list[str | None]:
    coding = CODES[chained.entry.action].type
    return [f"{coding['system']}|{coding['code']}"]


def _subtype(chained: ChainedEntry) -> list[str | None]:
    coding = CODES[chained.entry.action].subtype
    return [f"{coding['system']}|{coding['code']}"]


def _recorded(chained: ChainedEntry) -> list[str | None]:
    return [to_instant(chained.recorded_ms)]


_COMMON: Fields[ChainedEntry] = {
    "_id": SearchField(_TOKEN, lambda chained: [str(chained.sequence)]),
    "_lastUpdated": SearchField(ParameterType.DATE, _recorded),
    "action": SearchField(_TOKEN, lambda chained: [CODES[chained.entry.action].letter]),
    "agent": SearchField(_REFERENCE, lambda chained: [chained.entry.agent]),
    "date": SearchField(ParameterType.DATE, _recorded),
    "entity": SearchField(_REFERENCE, _entities),
    "outcome": SearchField(_TOKEN, lambda chained: [str(int(chained.entry.outcome))]),
    "patient": SearchField(_REFERENCE, lambda chained: chained.entry.patients),
}
_BEFORE_R5: Fields[ChainedEntry] = {
    **_COMMON,
    "address": SearchField(ParameterType.STRING, lambda chained: [chained.entry.address]),
    "subtype": SearchField(_TOKEN, _subtype),
    "type": SearchField(_TOKEN, _type),
}
AUDIT_FIELDS: Mapping[Release, Fields[ChainedEntry]] = {
    Release.R4: _BEFORE_R5,
    Release.R4B: _BEFORE_R5,
    Release.R5: {
        **_COMMON,
        "category": SearchField(_TOKEN, _type),
        "code": SearchField(_TOKEN, _subtype),
    },
}
