"""Settles dead letters: each is retried or dropped by one script, and both may be repeated.

A letter is gone only when it was settled: a change when it is logged anew, an event when it is delivered, an inbox entry when it
is back on the inbox.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Any, cast

from broker.model.change import Tenant, VersionKey
from broker.model.subscription import SubscriptionId
from broker.store import keys
from broker.store.dead_letters import DeadLetter, Kind, parts_of
from broker.store.protocol import Argument, Command, ScriptCall, Store, WriteConcern
from broker.store.replies import flatten
from broker.store.schedule import MAX_RANGES_BYTES

_AT_ONCE = 500
"""So many numbers a script: it walks what waits to be sent again for each."""


class RedriveResult(StrEnum):
    """What became of the wish to retry a letter."""

    ACCEPTED = "accepted"
    ABSENT = "absent"
    UNKEPT = "unkept"  # what it is about is no longer stored
    INACTIVE = "inactive"  # its subscription is not active
    FULL = "full"  # too much waits to be sent again already


class DeadLetterActions:
    """Retries and drops."""

    def __init__(self, store: Store, *, keep_ms: int) -> None:
        self._store = store
        self._keep_ms = keep_ms

    async def retry(self, letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        """Has the letters done after all; what became of each, by id."""
        by_kind = _by_kind(letters)
        answers = await self._redrive(by_kind[Kind.CHANGE])
        for key, some in _by_subscription(by_kind[Kind.EVENT]):
            for start in range(0, len(some), _AT_ONCE):
                answers |= await self._deliver(*key, some[start : start + _AT_ONCE])
        return answers | await self._put_back(by_kind[Kind.INBOX])

    async def _redrive(self, letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        calls = []
        for letter in letters:
            partition, entry, *_ = parts_of(letter.id)
            p, focus = int(partition), cast("VersionKey", letter.focus)
            before = VersionKey(focus.tenant, focus.type, focus.id, focus.version - 1)
            script_keys = [keys.aside(p), keys.changes(p), keys.version(p, focus), keys.version(p, before)]
            calls.append(ScriptCall("redrive", script_keys, [entry, self._keep_ms]))
        answers = await self._store.run_many(calls, WriteConcern.DURABLE)
        return {
            letter.id: RedriveResult(answer.decode()) for letter, answer in zip(letters, answers, strict=True)
        }

    async def _deliver(
        self, tenant: Tenant, subscription: SubscriptionId, letters: Sequence[DeadLetter]
    ) -> dict[str, RedriveResult]:
        shard = self._store.layout.shard_of(tenant, subscription)
        numbers = sorted(letter.number for letter in letters)
        script_keys = [
            keys.subscription(shard, tenant, subscription),
            keys.due(shard),
            keys.dead(shard, tenant, subscription),
            keys.dead_index(shard),
            keys.outbox(shard, tenant, subscription),
        ]
        arguments: list[Argument] = [
            keys.member(tenant, subscription),
            MAX_RANGES_BYTES,
            keys.WAKE,
            shard,
            *numbers,
        ]
        answer = await self._store.run(ScriptCall("redrive_dead_letters", script_keys, arguments))
        told = [answer] * len(numbers) if isinstance(answer, bytes) else answer
        by_number = dict(zip(numbers, told, strict=True))
        return {letter.id: RedriveResult(by_number[letter.number].decode()) for letter in letters}

    async def _put_back(self, letters: Sequence[DeadLetter]) -> dict[str, RedriveResult]:
        """On the inbox under an idempotency key, so that one that is put there twice is one change."""
        for letter in letters:
            entry = parts_of(letter.id)[4]
            fields: dict[Any, Any] = {b"key": f"letter-{entry}"} | dict(letter.entry or {})
            # the two streams lie in different slots of a Cluster: in this order nothing is lost in between
            await self._store.send([("XADD", keys.INBOX, "*", *flatten(fields))])
            await self._store.send([("XDEL", keys.INBOX_REFUSED, entry)])
        return {letter.id: RedriveResult.ACCEPTED for letter in letters}

    async def drop(self, letters: Sequence[DeadLetter]) -> int:
        """Forgets the letters; how many there still were."""
        by_kind = _by_kind(letters)
        dropped = await self._delete(by_kind[Kind.CHANGE] + by_kind[Kind.INBOX])
        for (tenant, subscription), some in _by_subscription(by_kind[Kind.EVENT]):
            shard = self._store.layout.shard_of(tenant, subscription)
            script_keys = [
                keys.subscription(shard, tenant, subscription),
                keys.dead(shard, tenant, subscription),
                keys.dead_index(shard),
            ]
            for start in range(0, len(some), _AT_ONCE):
                numbers = [letter.number for letter in some[start : start + _AT_ONCE]]
                arguments: list[Argument] = [keys.member(tenant, subscription), *numbers]
                dropped += int(
                    await self._store.run(ScriptCall("discard_dead_letters", script_keys, arguments))
                )
        return dropped

    async def _delete(self, letters: Sequence[DeadLetter]) -> int:
        commands: list[Command] = []
        for letter in letters:
            partition, entry, _, _, refused = parts_of(letter.id)
            stream = keys.aside(int(partition)) if partition else keys.INBOX_REFUSED
            commands.append(("XDEL", stream, entry or refused))
        return sum(await self._store.send(commands))


def _by_kind(letters: Iterable[DeadLetter]) -> dict[Kind, list[DeadLetter]]:
    return {kind: [letter for letter in letters if letter.kind is kind] for kind in Kind}


def _by_subscription(
    letters: Iterable[DeadLetter],
) -> Iterable[tuple[tuple[Tenant, SubscriptionId], list[DeadLetter]]]:
    def key(letter: DeadLetter) -> tuple[Tenant, SubscriptionId]:
        return letter.tenant, cast("SubscriptionId", letter.subscription)

    return [(one, list(some)) for one, some in groupby(sorted(letters, key=key), key)]
