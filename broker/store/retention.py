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
from broker.store.resp_connection import Argument
from broker.store.server import Server, translating
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

    def __init__(self, server: Server, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._gaps = GapReporter()

    async def trim_changes(self) -> None:
        """Drops matched changes."""
        limits = self._limits
        waiting = list(range(self._server.layout.partitions))
        while waiting:
            arguments: list[Argument] = [GROUP, limits.keep_ms, limits.changes, _AT_ONCE]
            calls = [([keys.changes(partition)], arguments) for partition in waiting]
            dropped = await self._server.call_many("trim_changes", calls)
            waiting = [one for one, number in zip(waiting, dropped, strict=True) if number >= _AT_ONCE]

    async def trim_outboxes(self) -> None:
        """Drops events that are too old; how many are kept is seen to where they are added."""
        for shard in range(self._server.layout.shards):
            members = [key_of(member) for member in await self._members(shard)]
            for start in range(0, len(members), _PAGE):
                waiting = members[start : start + _PAGE]
                while waiting:
                    waiting = await self._trim_some(shard, waiting)

    async def _trim_some(self, shard: int, some: Sequence[SubscriptionKey]) -> list[SubscriptionKey]:
        """Those of which there is more to drop."""
        calls: list[tuple[list[str], list[Argument]]] = [
            (
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
        for key, (has_more, *given_up) in zip(
            some, await self._server.call_many("trim_outbox", calls), strict=True
        ):
            if given_up:
                self._gaps.tell(*key, int(given_up[0]), int(given_up[1]), GapReason.AGE)
            if has_more:
                more.append(key)
        return more

    @translating
    async def _members(self, shard: int) -> list[bytes]:
        return [cast("bytes", member) for member in await self._server.client.smembers(keys.members(shard))]

    async def trim_refused(self) -> None:
        """Drops what was refused of the inbox stream."""
        await self._trim("refused", [keys.INBOX_REFUSED], self._limits.refused)

    async def trim_dead_letters(self) -> None:
        """Drops changes that were set aside and that nobody looked after."""
        streams = [keys.aside(partition) for partition in range(self._server.layout.partitions)]
        await self._trim("dead letters", streams, self._limits.dead_letters)

    @translating
    async def _trim(self, name: str, streams: Sequence[str], most: int) -> None:
        oldest = int((await self._server.client.time())[0]) * 1000 - self._limits.keep_ms
        pipe = self._server.client.pipeline(transaction=False)
        for stream in streams:
            pipe.xtrim(stream, minid=f"{max(oldest, 0)}-0", approximate=False)
            pipe.xtrim(stream, maxlen=most, approximate=False)
        dropped = sum(await pipe.execute())
        if dropped:
            metrics.entries_trimmed.labels(stream=name).inc(dropped)
            _log.warning("entries trimmed", stream=name, number=dropped)
