"""Scripts on the changes stream of a partition and its versions: append, remove."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.change import VersionKey
from broker.store import audit_keys, keys, search_keys
from broker.store.audit_blocks import encode_change
from broker.store.proposals import Proposal
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.records import ProposedChange, encode, encode_logged


class AppendedChange(NamedTuple):
    """A row of `append_changes.lua`: the status, the version it is about and the moment."""

    status: bytes
    version: int
    at_ms: int


def append_changes_call(
    store: Store,
    proposals: Sequence[Proposal],
    packed: Sequence[bytes],
    *,
    is_atomic: bool,
    keep_ms: int,
    max_unmatched: int,
) -> ScriptCall:
    """The call for proposals of one partition, each with its text as it is stored (b'' for none); an atomic
    one may span partitions of one node.
    """
    layout = store.layout
    partitions = [layout.partition_of(proposal.tenant, proposal.id) for proposal in proposals]
    # the first one is the partition that is published
    places = {partition: place for place, partition in enumerate(dict.fromkeys(partitions), start=1)}
    script_keys = [key for partition in places for key in _keys_of_partition(partition)]
    mode = "all" if is_atomic else "each"
    arguments: list[Argument] = [
        mode,
        keep_ms,
        store.append_channel,
        partitions[0],
        max_unmatched,
        len(places),
    ]
    for proposal, text, p in zip(proposals, packed, partitions, strict=True):
        tenant, resource_type, resource_id = proposal.tenant, proposal.type, proposal.id
        script_keys += [
            keys.resource(p, tenant, resource_type, resource_id),
            keys.identifiers(p, tenant, resource_type),
            keys.idempotency(p, tenant, proposal.idempotency_key),
            keys.references(p, tenant),
            audit_keys.audit_of_partition(p, tenant),
            search_keys.search_sets(p, tenant, resource_type),
            search_keys.search_types(p, tenant),
        ]
        proposed = ProposedChange(
            places[p],
            proposal.op,
            proposal.request_id,
            resource_id,
            proposal.release,
            proposal.condition.if_match,
            proposal.condition.if_none_match,
            proposal.digest if proposal.idempotency_key else "",
            "\n".join(proposal.identifiers),
            "\n".join(f"{target}:{resource_type}:{parameter}" for parameter, target in proposal.references),
            resource_type,
            "".join(f"{name}\n" for name in proposal.sets),
            proposal.date,
        )
        logged = encode_logged(
            tenant, resource_type, resource_id, proposal.events, proposal.trace, proposal.patient
        )
        audited = encode_change(proposal.requester, resource_type, resource_id, proposal.patient)
        arguments += [encode(proposed), logged, text, audited]
    return ScriptCall("append_changes", script_keys, arguments)


def _keys_of_partition(partition: int) -> list[str]:
    return [
        keys.partition_counters(partition),
        keys.matching(partition),
        keys.held_versions(partition),
        keys.changes(partition),
        search_keys.moments(partition),
    ]


async def append_changes(store: Store, calls: Sequence[ScriptCall]) -> list[list[AppendedChange]]:
    """The rows of each call, in the order of its proposals; returns once they are durable."""
    replies = await store.run_many(calls, WriteConcern.DURABLE)
    return [[AppendedChange(*row) for row in rows] for rows in replies]


async def erase_resource(
    store: Store, partition: int, key: VersionKey, superseded: Sequence[int], *, is_current: bool
) -> int:
    """Removes versions of a resource with all that belongs to them; how many there were. With `is_current`,
    that of the key as well, which is the current one unless it was written anew meanwhile.
    """
    tenant, resource_type, resource_id, number = key
    script_keys = [
        keys.held_versions(partition),
        keys.resource(partition, tenant, resource_type, resource_id),
        keys.identifiers(partition, tenant, resource_type),
        keys.references(partition, tenant),
        search_keys.search_sets(partition, tenant, resource_type),
    ]
    member = keys.resource_member(tenant, resource_type, resource_id)
    arguments = [member, resource_id, number if is_current else "", *superseded]
    return int(await store.run(ScriptCall("erase_resource", script_keys, arguments), WriteConcern.DURABLE))


class ExpiringVersion(NamedTuple):
    """A version that nothing needs since the horizon, unless it is held. `stays_ms` is how long the current
    version stays beyond it; None for ever.
    """

    key: VersionKey
    stays_ms: int | None


async def remove_versions(
    store: Store,
    partition: int,
    versions: Sequence[ExpiringVersion],
    *,
    horizon_ms: int,
    first_kept: str = "",
) -> int:
    """Removes versions with all that belongs to them, and the log up to the entry `first_kept`; how many
    versions.
    """
    script_keys = [keys.changes(partition), keys.held_versions(partition)]
    arguments: list[Argument] = [horizon_ms, first_kept]
    for (tenant, resource_type, resource_id, number), stays_ms in versions:
        script_keys += [
            keys.resource(partition, tenant, resource_type, resource_id),
            keys.identifiers(partition, tenant, resource_type),
            keys.references(partition, tenant),
            search_keys.search_sets(partition, tenant, resource_type),
        ]
        member = keys.resource_member(tenant, resource_type, resource_id)
        arguments += [member, resource_id, number, "" if stays_ms is None else stays_ms]
    return int(await store.run(ScriptCall("remove_versions", script_keys, arguments)))


async def replace_resource(store: Store, name: str, before: bytes, after: bytes) -> bool:
    """Replaces the string of a resource; False if it is not `before` any more."""
    call = ScriptCall("replace_resource", [name], [before, after])
    return bool(await store.run(call, WriteConcern.DURABLE))
