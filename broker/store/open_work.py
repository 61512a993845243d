"""Work in the background that all processes share: which pieces are to be done, and who is at one.

Exports, runs over dead letters and the building of search indexes use it. Each method raises
`StoreUnavailable`.
"""

from typing import NamedTuple

from broker.model.change import Tenant
from broker.store.protocol import Command, Store

_CLAIM_MS = 10_000


class WorkName(NamedTuple):
    """What names a piece of work."""

    tenant: Tenant
    id: str


class OpenWork:
    """The set of the pieces that need work, under one key."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key

    async def add(self, name: WorkName) -> None:
        """Processes find it from now on."""
        await self._store.send([("SADD", self._key, _text(name))])

    async def has(self, name: WorkName) -> bool:
        """Whether it needs work."""
        (is_member,) = await self._store.send([("SISMEMBER", self._key, _text(name))])
        return bool(is_member)

    async def list(self) -> list[WorkName]:
        """All that need work."""
        (names,) = await self._store.send([("SMEMBERS", self._key)])
        pairs = (name.decode().partition(" ") for name in names)
        return sorted(WorkName(Tenant(tenant), work_id) for tenant, _, work_id in pairs)

    async def remove(self, name: WorkName) -> None:
        """It needs no more work."""
        await self._store.send([("SREM", self._key, _text(name))])


async def claim_work(store: Store, key: str, owner: str) -> bool:
    """Whether the process does the work now; for ten seconds, and again with each call. Nothing but work is
    lost if two do.
    """
    commands: list[Command] = [("SET", key, owner, "NX", "PX", _CLAIM_MS), ("GET", key)]
    _, holder = await store.send(commands)
    if holder != owner.encode():
        return False
    await store.send([("PEXPIRE", key, _CLAIM_MS)])
    return True


def _text(name: WorkName) -> str:
    return f"{name.tenant} {name.id}"
