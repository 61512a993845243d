"""Quarantined readings: payloads of devices that did not become Observations, each with the reason.

A payload that is sent again is kept once. A reading that waits for something, such as the association of its
device with a patient, is found by its name, in the order of the effective times and then of arrival.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from broker.model.change import Tenant
from broker.store import keys, stream_id
from broker.store.compression import compress, decompress
from broker.store.protocol import Command, Store
from broker.store.replies import entries_of
from broker.store.scripts import quarantine
from broker.store.scripts.quarantine import QuarantinedPayload

_PAGE = 200
_RECORD = msgspec.json.Decoder(dict[str, str])
_END = b" "
"""Behind the name in a member of the sorted set. A name is spelled without blanks (`_spelled`)."""


class Quarantined(NamedTuple):
    """A quarantined payload. `record` says what ingest needs to process it again."""

    entry: str
    reason: str
    record: Mapping[str, str]
    content: bytes


class NewlyQuarantined(NamedTuple):
    """A payload to keep; `replaces` is the entry of its earlier attempt, or ''.

    `effective_ms` orders those that wait for the same name; `waits_for` is that name, or ''.
    """

    digest: str
    reason: str
    record: Mapping[str, str]
    content: bytes
    effective_ms: int = 0
    waits_for: str = ""
    replaces: str = ""


class Quarantine:
    """Of all tenants. `keep_ms` is how long a payload that is sent again is recognised."""

    def __init__(self, store: Store, *, keep_ms: int) -> None:
        self._store = store
        self._keep_ms = keep_ms

    async def keep(self, tenant: Tenant, payloads: Sequence[NewlyQuarantined]) -> list[str]:
        """The entry of each payload, durable when it returns."""
        stored = [
            QuarantinedPayload(
                payload.digest,
                payload.replaces,
                payload.reason,
                msgspec.json.encode(payload.record),
                compress(payload.content),
                payload.effective_ms,
                _spelled(payload.waits_for),
            )
            for payload in payloads
        ]
        return await quarantine.quarantine_readings(self._store, tenant, stored, keep_ms=self._keep_ms)

    async def get(self, tenant: Tenant, entries: Sequence[str]) -> list[Quarantined]:
        """Those of the entries that there still are, in their order."""
        key = keys.quarantine(tenant)
        replies = await self._store.send([("XRANGE", key, entry, entry) for entry in entries])
        return [quarantined_of(*row) for reply in replies for row in entries_of(reply)]

    async def remove(self, tenant: Tenant, entries: Sequence[str]) -> int:
        """They were stored as Observations after all; how many there were."""
        return await quarantine.redriven_readings(self._store, tenant, entries) if entries else 0

    async def tenants(self) -> list[Tenant]:
        """Those that have, or had, quarantined readings."""
        (names,) = await self._store.send([("SMEMBERS", keys.QUARANTINE_TENANTS)])
        return [Tenant(name.decode()) for name in sorted(names)]

    async def awaited(self, tenant: Tenant) -> AsyncIterator[str]:
        """The names that readings of the tenant wait for, each once."""
        low = b"-"
        while True:
            command: Command = ("ZRANGEBYLEX", keys.quarantine_waits(tenant), low, b"+", "LIMIT", 0, 1)
            (members,) = await self._store.send([command])
            if not members:
                return
            name = members[0].rsplit(b" ", 2)[0]
            yield unquote(name.decode())
            low = b"(" + name + _END + b"\xff"

    async def waiting(self, tenant: Tenant, name: str) -> AsyncIterator[Sequence[Quarantined]]:
        """The readings that wait for the name, in pages, in the order of effective time and arrival."""
        key, prefix = keys.quarantine_waits(tenant), _spelled(name).encode() + _END
        low, high = b"[" + prefix, b"(" + prefix + b"\xff"
        while True:
            (members,) = await self._store.send([("ZRANGEBYLEX", key, low, high, "LIMIT", 0, _PAGE)])
            if not members:
                return
            entries = [member.rsplit(b" ", 1)[1].decode() for member in members]
            page = await self.get(tenant, entries)
            kept = {each.entry for each in page}
            gone = [member for member, entry in zip(members, entries, strict=True) if entry not in kept]
            if gone:
                await self._store.send([("ZREM", key, *gone)])
            if page:
                yield page
            low = b"(" + members[-1]


def _spelled(name: str) -> str:
    return quote(name, safe="/?|:.-_")


async def page_of(store: Store, tenant: Tenant, low: str, high: str = stream_id.LAST) -> list[Quarantined]:
    """A page of the quarantined readings of a tenant, for `dead_letters.py`."""
    command: Command = ("XRANGE", keys.quarantine(tenant), low, high, "COUNT", _PAGE)
    return [quarantined_of(*row) for row in entries_of((await store.send([command]))[0])]


def quarantined_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Quarantined:
    """The quarantined reading of an entry of the stream."""
    return Quarantined(
        entry_id.decode(),
        fields[b"reason"].decode(),
        _RECORD.decode(fields[b"record"]),
        decompress(fields[b"content"]),
    )
