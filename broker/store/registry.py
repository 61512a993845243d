"""The registry log: which subscriptions were stored or deleted. Matchers follow it."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import islice

from broker.model.subscription import SubscriptionKey
from broker.store import keys, stream_id
from broker.store.protocol import Command, Entries, Store
from broker.store.stream_id import StreamId
from broker.store.subscriptions import Record, Subscriptions
from broker.tasks import Slices

PAGE = 200
"""Subscriptions whose records are read, and processed, together."""
_LOG_COUNT = 64
"""Entries read of each shard's log at a time."""
_EMPTY = b"0-0"

Changed = Sequence[tuple[SubscriptionKey, Record | None]]
"""Subscriptions with their state now, None for those that were deleted."""


class RegistryFollower:
    """Returns what changed since the last call; the first call returns every subscription."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._subscriptions = Subscriptions(store)
        self._positions: dict[int, bytes] = {}
        self._followed: dict[int, set[SubscriptionKey]] = {}
        self._pending: dict[SubscriptionKey, bool] = {}
        """Whether the newest entry that was read says that it was deleted: then it needs no read."""

    async def pages(self) -> AsyncGenerator[Changed]:
        """Subscriptions stored or deleted since the last call, in pages; one round trip if there are none.

        Call it after reading a batch of changes and before matching it: then a change that was accepted after
        an activation meets the activated subscription. A page is done when the next one is asked for; what
        was not done, because the call or its caller failed, comes again in the next call.
        """
        await self._read_logs()
        while self._pending:
            page = list(islice(self._pending, PAGE))
            stored = [key for key in page if not self._pending[key]]
            read = dict(zip(stored, await self._subscriptions.many(stored), strict=True)) if stored else {}
            records = [(key, read.get(key)) for key in page]
            for key, record in records:
                followed = self._followed[self._subscriptions.shard_of(*key)]
                if record is None:
                    followed.discard(key)
                else:
                    followed.add(key)
            yield records
            for key in page:
                del self._pending[key]

    async def wait(self, wait_s: float) -> None:
        """Returns when a log has an entry that was not read, or after `wait_s`. It may return before."""
        if len(self._positions) < self._store.layout.shards:
            return
        await self._store.await_entries(self._logs(), wait_s=wait_s)

    def repeat(self, subscriptions: Iterable[SubscriptionKey]) -> None:
        """Makes the next call of `pages` return these too."""
        self._pending.update(dict.fromkeys(subscriptions, False))

    async def _read_logs(self) -> None:
        """Reads the logs to their ends. What changed is pending."""
        slices = Slices()
        has_more = bool(self._positions)
        while has_more:
            has_more = False
            shards = {keys.registry(shard).encode(): shard for shard in self._positions}
            for log, entries in await self._store.read_streams(self._logs(), count=_LOG_COUNT):
                has_more = has_more or len(entries) == _LOG_COUNT
                self._follow(shards[log], entries)
                await slices.pause()
        unread = [shard for shard in range(self._store.layout.shards) if shard not in self._positions]
        for shard, end in zip(unread, await self._ends_of(unread), strict=True):
            listed = set(await self._subscriptions.in_shard(shard))
            # with those that were deleted in the part of the log that is gone
            self._pending.update(dict.fromkeys(listed | self._followed.get(shard, set()), False))
            self._followed[shard] = listed
            self._positions[shard] = end
            await slices.pause()

    def _logs(self) -> dict[str, bytes]:
        return {keys.registry(shard): position for shard, position in self._positions.items()}

    def _follow(self, shard: int, entries: Entries) -> None:
        """Moves the position behind the entries; removes it if the log has lost entries."""
        for entry_id, fields in entries:
            if StreamId.parse(entry_id).sequence != StreamId.parse(self._positions[shard]).sequence + 1:
                # entries were trimmed before they were read, or the store forgot entries that were read
                del self._positions[shard]
                return
            self._positions[shard] = entry_id
            self._pending[keys.subscription_key(fields[b"member"])] = fields[b"operation"] == b"delete"

    async def _ends_of(self, shards: Sequence[int]) -> list[bytes]:
        if not shards:
            return []
        newest: list[Command] = [
            ("XREVRANGE", keys.registry(shard), stream_id.LAST, stream_id.FIRST, "COUNT", 1)
            for shard in shards
        ]
        return [bytes(entries[0][0]) if entries else _EMPTY for entries in await self._store.send(newest)]

    def start_over(self) -> None:
        """Makes the next call of `pages` return every subscription, and those that were deleted since."""
        self._positions = {}

    async def trim(self, keep: int, keep_ms: int) -> None:
        """Removes from each log all but about `keep` entries, and those older than `keep_ms`; the last one
        stays.

        A follower that is behind starts over: it misses entries in front of the next one, or of the last.
        """
        shards = range(self._store.layout.shards)
        (now,) = await self._store.send([("TIME",)])
        horizon = StreamId(max(0, int(now[0]) * 1000 - keep_ms), 0)
        ends = [StreamId.parse(end) for end in await self._ends_of(shards)]
        commands: list[Command] = [("XTRIM", keys.registry(shard), "MAXLEN", "~", keep) for shard in shards]
        commands += [
            ("XTRIM", keys.registry(shard), "MINID", "~", str(min(horizon, end)))
            for shard, end in zip(shards, ends, strict=True)
        ]
        await self._store.send(commands)
