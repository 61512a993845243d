"""Quarantined readings: payloads of devices that did not become Observations, each with the reason.

A payload that is sent again is kept once. A reading that waits for something, such as the association of its
device with a patient, is found by its name, in the order of the effective times and then of arrival.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

from broker.model.change import Tenant
from broker.store import keys
from broker.store.bodies import UNSEALED, Bodies
from broker.store.protocol import Command, Store
from broker.store.quarantined_payloads import PAGE, Quarantined, QuarantinedPayloads, packed
from broker.store.scripts import quarantine
from broker.store.scripts.quarantine import QuarantinedPayload

_END = b" "
"""Behind the name in a member of the sorted set. A name is spelled without blanks (`_spelled`)."""


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
    """Of all tenants. `keep_ms` is how long a payload that is sent again is recognised; `bodies` seal."""

    def __init__(self, store: Store, *, keep_ms: int, bodies: Bodies = UNSEALED) -> None:
        self._store = store
        self._keep_ms = keep_ms
        self._bodies = bodies
        self._payloads = QuarantinedPayloads(store, bodies)

    async def keep(self, tenant: Tenant, payloads: Sequence[NewlyQuarantined]) -> list[str]:
        """The entry of each payload, durable when it returns."""
        key_id = await self._bodies.sealing_key()
        stored = []
        for payload in payloads:
            parts = packed(self._bodies, tenant, payload.digest, payload.record, payload.content, key_id)
            stored.append(
                QuarantinedPayload(
                    payload.digest,
                    payload.replaces,
                    payload.reason,
                    parts.record,
                    parts.content,
                    payload.effective_ms,
                    _spelled(payload.waits_for),
                    parts.sealed_for,
                )
            )
        return await quarantine.quarantine_readings(self._store, tenant, stored, keep_ms=self._keep_ms)

    async def get(self, tenant: Tenant, entries: Sequence[str]) -> list[Quarantined]:
        """Those of the entries that there still are, in their order."""
        return await self._payloads.get(tenant, entries)

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
            (members,) = await self._store.send([("ZRANGEBYLEX", key, low, high, "LIMIT", 0, PAGE)])
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
