"""Redrives or discards dead letters. Each action is one script for each dead letter or batch, and may be
repeated.

A dead letter is removed by a redrive only when its purpose is served: a change when it is logged again, an
event when it is delivered, an inbox entry when it is back on the inbox.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby

from broker.model.change import Tenant
from broker.model.subscription import SubscriptionKey
from broker.store.dead_letter_id import DeadChangeId, DeadEventId, DeadInboxId, DeadReadingId
from broker.store.dead_letters import DeadLetter
from broker.store.protocol import Store
from broker.store.schedule import MAX_RANGES_BYTES
from broker.store.scripts import dead_letters as scripts
from broker.store.scripts.dead_letters import DeadChange, DeadLetterStream

_NUMBERS_PER_CALL = 500
"""Event numbers in one script call, which searches for each of them in what waits to be sent once more."""


class RedriveResult(StrEnum):
    """What became of a request to redrive a dead letter."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    UNKEPT = "unkept"  # what it is about is not stored any more
    INACTIVE = "inactive"  # its subscription is not active
    FULL = "full"  # too many events wait to be sent once more


class DeadLetterActions:
    """Redrives and discards."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def redrive(self, dead_letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        """Has them processed after all; what became of each, by id. Readings are redriven by
        `ingest/readings/redrive.py`.
        """
        results = await self._redrive_changes(dead_letters)
        for subscription, ids in _events_of(dead_letters):
            for start in range(0, len(ids), _NUMBERS_PER_CALL):
                results |= await self._redrive_events(subscription, ids[start : start + _NUMBERS_PER_CALL])
        return results | await self._redrive_inbox(dead_letters)

    async def _redrive_changes(self, dead_letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        chosen = [
            (letter.id, DeadChange(letter.key.partition, letter.key.entry, letter.focus))
            for letter in dead_letters
            if isinstance(letter.key, DeadChangeId) and letter.focus
        ]
        results = await scripts.redrive_changes(self._store, [change for _, change in chosen])
        return {
            letter_id: RedriveResult(result) for (letter_id, _), result in zip(chosen, results, strict=True)
        }

    async def _redrive_events(
        self, subscription: SubscriptionKey, ids: Sequence[DeadEventId]
    ) -> dict[str, RedriveResult]:
        results = await scripts.redrive_events(
            self._store, subscription, [event.number for event in ids], max_bytes=MAX_RANGES_BYTES
        )
        if isinstance(results, str):
            return dict.fromkeys(map(str, ids), RedriveResult(results))
        return {str(event): RedriveResult(result) for event, result in zip(ids, results, strict=True)}

    async def _redrive_inbox(self, dead_letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        """Each entry gets an idempotency key, so that an entry that is put back twice makes one change."""
        chosen = [letter for letter in dead_letters if isinstance(letter.key, DeadInboxId)]
        results = await asyncio.gather(
            *(
                scripts.redrive_inbox_entry(self._store, letter.tenant, letter.key.entry)
                for letter in chosen
                if isinstance(letter.key, DeadInboxId)
            )
        )
        return {letter.id: RedriveResult(result) for letter, result in zip(chosen, results, strict=True)}

    async def discard(self, dead_letters: Sequence[DeadLetter]) -> int:
        """Removes them; how many there still were."""
        discarded = 0
        for stream, entries in _entries_of(dead_letters).items():
            discarded += await scripts.discard_entries(self._store, stream, entries)
        for subscription, ids in _events_of(dead_letters):
            for start in range(0, len(ids), _NUMBERS_PER_CALL):
                numbers = [event.number for event in ids[start : start + _NUMBERS_PER_CALL]]
                discarded += await scripts.discard_events(self._store, subscription, numbers)
        return discarded


def _entries_of(dead_letters: Sequence[DeadLetter]) -> dict[DeadLetterStream, list[str]]:
    """The entries of changes, inbox entries and readings, by their streams."""
    entries: dict[DeadLetterStream, list[str]] = {}
    for letter in dead_letters:
        if not isinstance(letter.key, DeadEventId):
            partition = letter.key.partition if isinstance(letter.key, DeadChangeId) else None
            stream = DeadLetterStream(letter.tenant, partition, isinstance(letter.key, DeadReadingId))
            entries.setdefault(stream, []).append(letter.key.entry)
    return entries


def _events_of(dead_letters: Sequence[DeadLetter]) -> list[tuple[SubscriptionKey, list[DeadEventId]]]:
    """The events by subscription, in ascending order."""
    events: list[tuple[Tenant, DeadEventId]] = sorted(
        (letter.tenant, letter.key) for letter in dead_letters if isinstance(letter.key, DeadEventId)
    )
    return [
        (subscription, [event for _, event in group])
        for subscription, group in groupby(events, lambda row: (row[0], row[1].subscription))
    ]
