"""Wakes a dispatcher for the shards that may have due subscriptions: one event and one timer a shard."""

import asyncio
from collections.abc import Iterable, Mapping


class ShardAlarms:
    """The event of a shard is set by a wakeup from the store, or when the shard's alarm goes off."""

    def __init__(self, shards: Iterable[int]) -> None:
        self.events: Mapping[int, asyncio.Event] = {shard: asyncio.Event() for shard in shards}
        self._alarms: dict[int, asyncio.TimerHandle] = {}

    def ring(self, shard: int) -> None:
        self.events[shard].set()

    def ring_all(self) -> None:
        for event in self.events.values():
            event.set()

    def set_alarm(self, shard: int, ms: float) -> None:
        """Replaces the alarm of a shard: its event is set in `ms`."""
        alarm = self._alarms.get(shard)
        if alarm is not None:
            alarm.cancel()
        self._alarms[shard] = asyncio.get_running_loop().call_at(_time_in(ms), self.ring, shard)

    def advance_alarm(self, shard: int, ms: float) -> None:
        """Something in the shard is due in `ms`: moves the alarm there unless it goes off earlier."""
        alarm = self._alarms.get(shard)
        if alarm is None or alarm.when() > _time_in(ms):
            self.set_alarm(shard, ms)


def _time_in(ms: float) -> float:
    """One millisecond later, so that the store's clock has passed the due time."""
    return asyncio.get_running_loop().time() + (ms + 1) / 1000
