"""The inbox stream for gateways that write to Redis directly, and the stream of what was refused.

Fields of an entry: resource (JSON), interaction (create, update, delete; create if absent), release, tenant, key. One reader at
a time, under a lease; an entry leaves the stream once it was accepted or refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.store import keys
from broker.store.protocol import Command, GroupReader, ScriptCall, Store
from broker.store.replies import flatten

_GROUP = "ingest"
_LEASE = "inbox"


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One entry as a gateway wrote it; nothing in it is checked yet."""

    id: str
    fields: Mapping[str, bytes]


class Inbox:
    """Reads entries in order, again after a crash; acknowledges, and sets refusals aside."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prepare(self) -> None:
        await self._store.create_group(keys.INBOX, _GROUP)

    async def lease(self, owner: str, ttl_ms: int) -> bool:
        return bool((await self._store.run(ScriptCall("lease", [keys.LEASES], [owner, ttl_ms, _LEASE])))[0])

    async def unlease(self, owner: str) -> None:
        await self._store.run(ScriptCall("unlease", [keys.LEASES], [owner, _LEASE]))

    async def read(
        self, client: GroupReader, position: str, *, count: int, block_ms: int | None
    ) -> list[InboxEntry]:
        """Entries from `position` (`>` new ones, `0` those read before and not finished); `client` may block."""
        rows = await client.read(_GROUP, "ingest", {keys.INBOX: position}, count=count, block_ms=block_ms)
        return [
            InboxEntry(
                entry_id.decode(),
                {name.decode(errors="replace"): value for name, value in fields.items()},
            )
            for _, entries in rows
            for entry_id, fields in entries
        ]

    async def finish(
        self, accepted: Sequence[InboxEntry], refused: Sequence[tuple[InboxEntry, bytes]]
    ) -> None:
        """Removes entries; the refused go to the other stream, each with its OperationOutcome."""
        if not accepted and not refused:
            return
        refusals: list[Command] = []
        for entry, outcome in refused:
            fields = {**entry.fields, "outcome": outcome, "entry": entry.id}
            refusals.append(("XADD", keys.INBOX_REFUSED, "*", *flatten(fields)))
        await self._store.send(refusals)  # first: the streams may lie on two nodes, and one be unavailable
        done = [entry.id for entry in accepted] + [entry.id for entry, _ in refused]
        await self._store.send([("XACK", keys.INBOX, _GROUP, *done), ("XDEL", keys.INBOX, *done)])
