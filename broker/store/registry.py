"""The registry log: which subscriptions were stored or deleted. Matchers follow it."""

from collections.abc import Sequence

from broker.model.subscription import SubscriptionKey
from broker.store import keys, stream_id
from broker.store.protocol import Command, Store
from broker.store.stream_id import StreamId
from broker.store.subscriptions import Record, Subscriptions

_PAGE = 1000
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

    async def changes(self) -> Changed:
        """Subscriptions stored or deleted since the last call; one round trip if there are none.

        Call it after reading a batch of changes and before matching it: then a change that was accepted after
        an activation meets the activated subscription. A call that failed returns the same subscriptions
        again the next time.
        """
        positions = dict(self._positions)
        changed = dict.fromkeys(await self._read(positions))
        listed: dict[int, set[SubscriptionKey]] = {}
        for shard in range(self._store.layout.shards):
            if shard not in positions:
                positions[shard] = await self._end_of(shard)
                listed[shard] = set(await self._subscriptions.in_shard(shard))
                # with those that were deleted in the part of the log that is gone
                changed.update(dict.fromkeys(listed[shard] | self._followed.get(shard, set())))
        wanted = list(changed)
        records: list[tuple[SubscriptionKey, Record | None]] = []
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            records += zip(page, await self._subscriptions.many(page), strict=True)
        self._positions = positions
        self._followed.update(listed)
        for key, record in records:
            followed = self._followed[self._subscriptions.shard_of(*key)]
            if record is None:
                followed.discard(key)
            else:
                followed.add(key)
        return records

    async def _read(self, positions: dict[int, bytes]) -> list[SubscriptionKey]:
        """Reads on from `positions` and moves them; removes the position of a log that has lost entries."""
        if not positions:
            return []
        changed = []
        shards = {keys.registry(shard).encode(): shard for shard in positions}
        logs = {keys.registry(shard): position for shard, position in positions.items()}
        for log, entries in await self._store.read_streams(logs):
            shard = shards[log]
            for entry_id, fields in entries:
                if StreamId.parse(entry_id).sequence != StreamId.parse(positions[shard]).sequence + 1:
                    # entries were trimmed before they were read, or the store forgot entries that were read
                    del positions[shard]
                    break
                positions[shard] = entry_id
                changed.append(keys.subscription_key(fields[b"member"]))
        return changed

    async def _end_of(self, shard: int) -> bytes:
        command = ("XREVRANGE", keys.registry(shard), stream_id.LAST, stream_id.FIRST, "COUNT", 1)
        (last,) = await self._store.send([command])
        return bytes(last[0][0]) if last else _EMPTY

    def start_over(self) -> None:
        """Makes the next call of `changes` return every subscription, and those that were deleted since."""
        self._positions = {}

    async def trim(self, keep: int) -> None:
        """Removes all but about `keep` entries of each log; a follower that is behind them starts over."""
        commands: list[Command] = [
            ("XTRIM", keys.registry(shard), "MAXLEN", "~", keep) for shard in range(self._store.layout.shards)
        ]
        await self._store.send(commands)
