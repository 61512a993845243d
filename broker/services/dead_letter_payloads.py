"""What a dead letter holds: the payload of a device, the entry of a gateway, or the resource it is about.

The payload of a device and the entry of a gateway are for operators; a resource is for who may read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.errors import Issue, NotFound
from broker.model import json_text
from broker.model.access import Access, authorize
from broker.model.principal import Principal
from broker.model.release import Release
from broker.services.changes import ChangeService
from broker.services.dead_letters import DeadLetterService, Selection
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter

_TEXTS = frozenset({"json", "csv"})
"""Formats of readings that are text, and complete without what the producer said besides."""
_READ = Access(scope="system/{type}.r", is_restrictable=True)


@dataclass(frozen=True, slots=True)
class Payload:
    """Named texts: JSON is indented."""

    dead_letter: DeadLetter
    fields: Sequence[tuple[str, str]]

    @property
    def as_trial(self) -> Mapping[str, str] | None:
        """What the tester of mappings is filled in with; None for what it could not try as it came."""
        named = dict(self.fields)
        if self.dead_letter.kind is not DeadLetterKind.READING or named.get("format") not in _TEXTS:
            return None
        return {"payload": named["content"], "format": named["format"]}


class DeadLetterPayloads:
    """Of the principal's tenant; who calls it has checked that the principal is an operator."""

    def __init__(self, dead_letters: DeadLetterService, changes: ChangeService) -> None:
        self._dead_letters = dead_letters
        self._changes = changes

    async def read(self, principal: Principal, dead_letter_id: str) -> Payload:
        """Raises `NotFound`, and `Forbidden` for a resource that the principal may not read."""
        page = await self._dead_letters.list(principal, Selection([dead_letter_id]))
        (dead_letter,) = page.dead_letters
        fields = [
            (name.decode(errors="replace"), json_text.for_people(value))
            for name, value in (dead_letter.entry or {}).items()
        ]
        focus = dead_letter.focus
        if focus is not None:
            authorize(principal, _READ, focus.type)
            stored = await self._changes.read_version(
                principal, Release.R4, focus.type, focus.id, str(focus.version)
            )
            fields.append((focus.reference, json_text.for_people(stored.resource.text)))
        if dead_letter.explanation:
            fields.append(("answer of the receiver", json_text.for_people(dead_letter.explanation)))
        if not fields:
            raise NotFound(Issue("not-found", "Nothing of it is stored any more. Discard the dead letter."))
        return Payload(dead_letter, fields)
