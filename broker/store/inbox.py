"""The inbox stream, for gateways that write to Redis directly.

Fields of an entry: `resource` (JSON), `interaction` (create, update, delete; create if absent), `release`,
`tenant`, `key`; or `reading` in place of `resource` (`ingest/readings/inbox.py`). One worker reads at a time,
under a lease (`leases.py`). An entry leaves the stream once it was accepted, or refused: then it is a dead
letter of its tenant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.store import keys
from broker.store.protocol import Command, Store, StreamReader
from broker.store.scripts import dead_letters
from broker.store.scripts.dead_letters import RefusedEntry

_GROUP = "ingest"


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One entry as a gateway wrote it; nothing in it is checked yet."""

    id: str
    fields: Mapping[str, bytes]

    @property
    def tenant(self) -> Tenant | None:
        """The tenant the entry names, the default one if it names none; None for a text that is no tenant."""
        name = self.fields.get("tenant", DEFAULT_TENANT.encode()).decode(errors="replace")
        return Tenant(name) if TENANT_PATTERN.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an entry is refused: `reason` for the operator, `outcome` the document for the gateway."""

    entry: InboxEntry
    reason: str
    outcome: bytes


class Inbox:
    """Reads entries in order, again after a crash, and removes them when they are done."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prepare(self) -> None:
        await self._store.create_group(keys.INBOX, _GROUP)

    def reader(self, *, timeout_s: float) -> StreamReader:
        """A reader for `read`."""
        return self._store.stream_reader(timeout_s=timeout_s, group=_GROUP)

    async def read(
        self, reader: StreamReader, position: str, *, count: int, block_ms: int | None
    ) -> list[InboxEntry]:
        """Entries from `position`: `>` for new ones, `0` for those that were read and are not finished."""
        rows = await reader.read({keys.INBOX: position}, count=count, block_ms=block_ms)
        return [
            InboxEntry(
                entry_id.decode(), {name.decode(errors="replace"): value for name, value in fields.items()}
            )
            for _, entries in rows
            for entry_id, fields in entries
        ]

    async def finish(self, accepted: Sequence[InboxEntry], refused: Sequence[Refusal]) -> None:
        """Removes the entries; refused ones become dead letters, each in one step."""
        if refused:
            entries = [
                RefusedEntry(refusal.entry.id, refusal.entry.tenant, refusal.reason, refusal.outcome)
                for refusal in refused
            ]
            await dead_letters.refuse_inbox_entries(self._store, _GROUP, entries)
        if accepted:
            ids = [entry.id for entry in accepted]
            commands: list[Command] = [("XACK", keys.INBOX, _GROUP, *ids), ("XDEL", keys.INBOX, *ids)]
            await self._store.send(commands)
