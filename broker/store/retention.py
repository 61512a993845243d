"""What goes when it is too old or too much. Everything here may run twice, in several processes, and in between anything else.

What is matched, delivered, refused or set aside goes by age and by number. What is not matched never goes: `lua/append.lua`
refuses more instead. What is not delivered goes only as a gap that is told (`lua/gaps.lua`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from broker.model.gap import GapReason
from broker.store import keys
from broker.store.changes import GROUP, MOST_CHANGES
from broker.store.gaps import GapReporter
from broker.store.outbox import SubscriptionKey, key_of
from broker.store.protocol import Argument, Command, ScriptCall, Store
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
_PAGE = 200
_AT_ONCE = 5_000
"""Entries one script looks at: the store does nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. `keep_ms` holds for every stream; the numbers are entries, of each partition where there are several."""

    keep_ms: int
    changes: int = MOST_CHANGES
    refused: int = 100_000
    dead_letters: int = 10_000


class Retention:
    """Trims each kind of stream; one round trip asks about many."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._gaps = GapReporter()

    async def trim_changes(self) -> None:
        """Drops matched changes."""
        limits = self._limits
        waiting = list(range(self._store.layout.partitions))
        while waiting:
            arguments: list[Argument] = [GROUP, limits.keep_ms, limits.changes, _AT_ONCE]
            calls = [
                ScriptCall("trim_changes", [keys.changes(partition)], arguments) for partition in waiting
            ]
            dropped = await self._store.run_many(calls)
            waiting = [one for one, number in zip(waiting, dropped, strict=True) if number >= _AT_ONCE]

    async def trim_outboxes(self) -> None:
        """Drops events that are too old; how many are kept is seen to where they are added."""
        for shard in range(self._store.layout.shards):
            members = [key_of(member) for member in await self._members(shard)]
            for start in range(0, len(members), _PAGE):
                waiting = members[start : start + _PAGE]
                while waiting:
                    waiting = await self._trim_some(shard, waiting)

    async def _trim_some(self, shard: int, some: Sequence[SubscriptionKey]) -> list[SubscriptionKey]:
        """Those of which there is more to drop."""
        calls = [
            ScriptCall(
                "trim_outbox",
                [
                    keys.subscription(shard, *key),
                    keys.outbox(shard, *key),
                    keys.due(shard),
                    keys.registry(shard),
                ],
                [keys.member(*key), self._limits.keep_ms, _AT_ONCE],
            )
            for key in some
        ]
        more = []
        for key, (has_more, *given_up) in zip(some, await self._store.run_many(calls), strict=True):
            if given_up:
                self._gaps.tell(*key, int(given_up[0]), int(given_up[1]), GapReason.AGE)
            if has_more:
                more.append(key)
        return more

    async def _members(self, shard: int) -> list[bytes]:
        (members,) = await self._store.send([("SMEMBERS", keys.members(shard))])
        return cast("list[bytes]", members)

    async def trim_refused(self) -> None:
        """Drops what was refused of the inbox stream."""
        await self._trim("refused", [keys.INBOX_REFUSED], self._limits.refused)

    async def trim_dead_letters(self) -> None:
        """Drops changes that were set aside and that nobody looked after."""
        streams = [keys.aside(partition) for partition in range(self._store.layout.partitions)]
        await self._trim("dead letters", streams, self._limits.dead_letters)

    async def _trim(self, name: str, streams: Sequence[str], most: int) -> None:
        ((seconds, _),) = await self._store.send([("TIME",)])
        oldest = int(seconds) * 1000 - self._limits.keep_ms
        commands: list[Command] = []
        for stream in streams:
            commands.append(("XTRIM", stream, "MINID", "=", f"{max(oldest, 0)}-0"))
            commands.append(("XTRIM", stream, "MAXLEN", "=", most))
        dropped = sum(await self._store.send(commands))
        if dropped:
            metrics.entries_trimmed.labels(stream=name).inc(dropped)
            _log.warning("entries trimmed", stream=name, number=dropped)
