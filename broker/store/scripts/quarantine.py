"""Scripts on quarantined readings: keep, remove after a redrive, seal again. `dead_letters.py` discards and
trims.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.change import Tenant
from broker.store import keys
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern


class QuarantinedPayload(NamedTuple):
    """A payload to keep. `digest` is the same for the same payload; `replaces` the entry of its earlier
    attempt, or ''; `record` what `quarantine.py` reads again. `waits_for` is a name or ''. With `sealed_for`,
    the name to which the parts are bound, `content` has both of them, sealed.
    """

    digest: str
    replaces: str
    reason: str
    record: bytes
    content: bytes
    effective_ms: int
    waits_for: str
    sealed_for: str = ""


async def quarantine_readings(
    store: Store, tenant: Tenant, payloads: Sequence[QuarantinedPayload], *, keep_ms: int
) -> list[str]:
    """The entry id of each payload; durable when it returns."""
    script_keys = [
        keys.quarantine(tenant),
        keys.QUARANTINE_TENANTS,
        keys.QUARANTINE_COUNTERS,
        keys.quarantine_waits(tenant),
        keys.sealed_readings(tenant),
    ]
    arguments: list[Argument] = [tenant, keep_ms]
    for payload in payloads:
        script_keys.append(keys.quarantine_digest(tenant, payload.digest))
        arguments += [
            payload.replaces,
            payload.reason,
            payload.record,
            payload.content,
            f"{max(0, payload.effective_ms):016d}",
            payload.waits_for,
            payload.sealed_for,
        ]
    reply = await store.run(ScriptCall("quarantine_readings", script_keys, arguments), WriteConcern.DURABLE)
    return [entry_id.decode() for entry_id in reply]


async def redriven_readings(store: Store, tenant: Tenant, entry_ids: Sequence[str]) -> int:
    """Removes entries that became Observations; how many there were."""
    script_keys = [keys.quarantine(tenant), keys.QUARANTINE_COUNTERS, keys.sealed_readings(tenant)]
    return int(await store.run(ScriptCall("redriven_readings", script_keys, entry_ids)))


async def replace_sealed_reading(
    store: Store, tenant: Tenant, entry_id: str, before: bytes, after: bytes
) -> bool:
    """Replaces the sealed parts of an entry; False if they are not `before` any more."""
    call = ScriptCall("replace_sealed_text", [keys.sealed_readings(tenant)], [entry_id, before, after])
    return bool(await store.run(call, WriteConcern.DURABLE))
