"""Quarantined payloads as the store has them: in the entry of the stream, or sealed in a hash beside it.

With `BROKER_SEAL_RESOURCES`, the payload and what is known of it are sealed as one text, bound to the tenant
and the digest of the payload. An entry of a stream can't be changed, and a sealed text has to be when its key
is: so it is in the hash, under the id of its entry. Each entry is read by what it is.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from broker.model.change import Tenant
from broker.store import keys, stream_id
from broker.store.bodies import Bodies
from broker.store.compression import compress, decompress
from broker.store.protocol import Command, Store
from broker.store.replies import entries_of

PAGE = 200
_RECORD = msgspec.json.Decoder(dict[str, str])
_DAMAGED: Mapping[str, str] = {
    "format": "",
    "text": "The payload was altered in the store and cannot be opened. Discard it, and have it sent again.",
}

Row = tuple[bytes, Mapping[bytes, bytes]]
"""An entry of the stream: its id and fields."""


class Quarantined(NamedTuple):
    """A quarantined payload. `record` says what ingest needs to process it again.

    One that is damaged has no content, and only the format and text of a record; nobody can process it.
    """

    entry: str
    reason: str
    record: Mapping[str, str]
    content: bytes
    is_damaged: bool = False


class PackedParts(NamedTuple):
    """Record and content as `lua/quarantine_readings.lua` takes them."""

    record: bytes
    content: bytes
    sealed_for: str


def packed(
    bodies: Bodies, tenant: Tenant, digest: str, record: Mapping[str, str], content: bytes, key_id: str
) -> PackedParts:
    """The parts, sealed under the key unless that is ''."""
    head = msgspec.json.encode(record)
    if not key_id:
        return PackedParts(head, compress(content), "")
    text = bodies.pack(head + b"\n" + content, tenant, place_of(digest), key_id)
    return PackedParts(b"", text, digest)


def place_of(digest: str) -> str:
    """What a sealed payload is bound to, beside its tenant; no reference of a resource looks like it."""
    return f"quarantined-reading/{digest}"


class QuarantinedPayloads:
    """Reads them."""

    def __init__(self, store: Store, bodies: Bodies) -> None:
        self._store = store
        self._bodies = bodies

    async def page(
        self, tenant: Tenant, low: str, high: str = stream_id.LAST, count: int = PAGE
    ) -> tuple[list[Quarantined], str]:
        """Those of a page of entries that there still are, and where the next page starts; '' for the end.

        Raises `StoreUnavailable` if the key of one is missing.
        """
        command: Command = ("XRANGE", keys.quarantine(tenant), low, high, "COUNT", count)
        rows = entries_of((await self._store.send([command]))[0])
        following = stream_id.after(rows[-1][0]) if len(rows) == count else ""
        return await self._opened(tenant, rows), following

    async def get(self, tenant: Tenant, entries: Sequence[str]) -> list[Quarantined]:
        """Those of the entries that there still are, in their order. Raises as `page` does."""
        key = keys.quarantine(tenant)
        replies = await self._store.send([("XRANGE", key, entry, entry) for entry in entries])
        return await self._opened(tenant, [row for reply in replies for row in entries_of(reply)])

    async def _opened(self, tenant: Tenant, rows: Sequence[Row]) -> list[Quarantined]:
        sealed = [entry for entry, fields in rows if b"sealed" in fields]
        texts: dict[bytes, bytes | None] = {}
        if sealed:
            (values,) = await self._store.send([("HMGET", keys.sealed_readings(tenant), *sealed)])
            texts = dict(zip(sealed, values, strict=True))
        opened = []
        for entry, fields in rows:
            if b"sealed" not in fields:
                record, content = fields[b"record"], decompress(fields[b"content"])
                opened.append(_quarantined(entry, fields, record, content))
            elif text := texts[entry]:  # else it was removed between the two reads
                opened.append(self._unsealed(tenant, entry, fields, text))
        return opened

    def _unsealed(
        self, tenant: Tenant, entry: bytes, fields: Mapping[bytes, bytes], text: bytes
    ) -> Quarantined:
        try:
            plain = self._bodies.unpack(text, tenant, place_of(fields[b"sealed"].decode()))
            record, _, content = plain.partition(b"\n")
            return _quarantined(entry, fields, record, content)
        except ValueError:
            return Quarantined(entry.decode(), fields[b"reason"].decode(), _DAMAGED, b"", is_damaged=True)


def _quarantined(entry: bytes, fields: Mapping[bytes, bytes], record: bytes, content: bytes) -> Quarantined:
    return Quarantined(entry.decode(), fields[b"reason"].decode(), _RECORD.decode(record), content)
