"""The inbox stream for gateways that write to Redis directly, and the stream of what was refused.

Fields of an entry: resource (JSON), interaction (create, update, delete; create if absent), release, tenant, key. One reader at
a time, under a lease; an entry leaves the stream once it was accepted or refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from broker.store import keys
from broker.store.group_reader import GroupReader
from broker.store.server import Server, translating

_GROUP = "ingest"
_LEASE = "inbox"


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One entry as a gateway wrote it; nothing in it is checked yet."""

    id: str
    fields: Mapping[str, bytes]


class Inbox:
    """Reads entries in order, again after a crash; acknowledges, and sets refusals aside."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def prepare(self) -> None:
        await self._server.prepare_group(keys.INBOX, _GROUP)

    async def lease(self, owner: str, ttl_ms: int) -> bool:
        return bool((await self._server.call("lease", [keys.LEASES], [owner, ttl_ms, _LEASE]))[0])

    async def unlease(self, owner: str) -> None:
        await self._server.call("unlease", [keys.LEASES], [owner, _LEASE])

    @translating
    async def read(
        self, client: GroupReader, position: str, *, count: int, block_ms: int | None
    ) -> list[InboxEntry]:
        """Entries from `position` (`>` new ones, `0` those read before and not finished); `client` may block."""
        answer: Any = await client.xreadgroup(
            _GROUP, "ingest", {keys.INBOX: position}, count=count, block=block_ms
        )
        return [
            InboxEntry(
                cast("bytes", entry_id).decode(),
                {name.decode(errors="replace"): value for name, value in (fields or {}).items()},
            )
            for _, entries in answer or ()
            for entry_id, fields in entries
        ]

    @translating
    async def finish(
        self, accepted: Sequence[InboxEntry], refused: Sequence[tuple[InboxEntry, bytes]]
    ) -> None:
        """Removes entries; the refused go to the other stream, each with its OperationOutcome."""
        if not accepted and not refused:
            return
        pipe = self._server.client.pipeline(transaction=False)
        for entry, outcome in refused:
            fields: dict[Any, Any] = {**entry.fields, "outcome": outcome, "entry": entry.id}
            pipe.xadd(keys.INBOX_REFUSED, fields)
        if refused:
            await pipe.execute()  # first: the streams may be on two nodes, and one of them away
        done = [entry.id for entry in accepted] + [entry.id for entry, _ in refused]
        pipe.xack(keys.INBOX, _GROUP, *done)
        pipe.xdel(keys.INBOX, *done)
        await pipe.execute()
