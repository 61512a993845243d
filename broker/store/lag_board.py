"""The lags of the workers of all processes, in one hash that expires when nobody is behind.

The lag reporter of each process writes its own field; the throttle of each intake reads all of them. A lost
field or write only makes the intake react later, so nothing here is durable.
"""

from broker.store import keys
from broker.store.protocol import Command, Store

_EXPIRES_MS = 10_000


class LagBoard:
    """Writes and reads. A field that has not changed for `fresh_s` is that of a process that has ended."""

    def __init__(self, store: Store, *, fresh_s: float = 1.5) -> None:
        self._store = store
        self._fresh_s = fresh_s
        self._seen: dict[bytes, tuple[bytes, float]] = {}

    async def write(self, process: str, lag_s: float, turn: int) -> None:
        """`turn` differs from that of the write before, so that readers see a lag that stays the same."""
        commands: list[Command] = [
            ("HSET", keys.LAGS, process, f"{round(lag_s * 1000)} {turn}"),
            ("PEXPIRE", keys.LAGS, _EXPIRES_MS),
        ]
        await self._store.send(commands)

    async def remove(self, process: str) -> None:
        await self._store.send([("HDEL", keys.LAGS, process)])

    async def longest_s(self, now_s: float) -> float:
        """The longest lag that was written within `fresh_s`, by the reader's own clock."""
        (reply,) = await self._store.send([("HGETALL", keys.LAGS)])
        written = dict(zip(reply[::2], reply[1::2], strict=True))
        self._seen = {
            process: (text, self._first_seen(process, text, now_s)) for process, text in written.items()
        }
        fresh = [text for text, at in self._seen.values() if now_s - at < self._fresh_s]
        return max((int(text.split()[0]) for text in fresh), default=0) / 1000

    def _first_seen(self, process: bytes, text: bytes, now_s: float) -> float:
        """When this text was first read: a field that no longer changes is of a process that has ended."""
        seen = self._seen.get(process)
        return seen[1] if seen is not None and seen[0] == text else now_s
