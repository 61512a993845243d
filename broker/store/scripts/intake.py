"""Scripts on the changes stream of a partition and its versions: append, acknowledge, remove."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.model.change import VersionKey
from broker.store import keys
from broker.store.compression import compress
from broker.store.proposals import Proposal
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.records import ProposedChange, encode, encode_logged


class AppendedChange(NamedTuple):
    """A row of `append_changes.lua`: the status, the version it is about and the moment."""

    status: bytes
    version: int
    at_ms: int


def append_changes_call(
    store: Store, proposals: Sequence[Proposal], *, is_atomic: bool, keep_ms: int, max_unmatched: int
) -> ScriptCall:
    """The call for proposals of one partition; an atomic one may span partitions of one node."""
    layout = store.layout
    partition = layout.partition_of(proposals[0].tenant, proposals[0].id)
    script_keys = [keys.partition_counters(partition)]
    mode = "all" if is_atomic else "each"
    arguments: list[Argument] = [mode, keep_ms, store.append_channel, partition, max_unmatched]
    for proposal in proposals:
        tenant, resource_type, resource_id = proposal.tenant, proposal.type, proposal.id
        p = layout.partition_of(tenant, resource_id)
        script_keys += [
            keys.resource(p, tenant, resource_type, resource_id),
            keys.held_versions(p),
            keys.changes(p),
            keys.identifiers(p, tenant, resource_type),
            keys.idempotency(p, tenant, proposal.idempotency_key),
            keys.references(p, tenant),
        ]
        proposed = ProposedChange(
            proposal.op,
            proposal.request_id,
            resource_id,
            proposal.release,
            proposal.condition.if_match,
            proposal.condition.if_none_match,
            proposal.digest if proposal.idempotency_key else "",
            "\n".join(proposal.identifiers),
            "\n".join(f"{target}:{resource_type}:{parameter}" for parameter, target in proposal.references),
        )
        logged = encode_logged(tenant, resource_type, resource_id, proposal.events, proposal.trace)
        arguments += [encode(proposed), logged, compress(proposal.tail) if proposal.tail else b""]
    return ScriptCall("append_changes", script_keys, arguments)


async def append_changes(store: Store, calls: Sequence[ScriptCall]) -> list[list[AppendedChange]]:
    """The rows of each call, in the order of its proposals; returns once they are durable."""
    replies = await store.run_many(calls, WriteConcern.DURABLE)
    return [[AppendedChange(*row) for row in rows] for rows in replies]


async def acknowledge_changes(store: Store, group: str, matched: Mapping[int, Sequence[str]]) -> None:
    """Marks changes as matched, by partition and change id."""
    calls = [
        ScriptCall(
            "acknowledge_changes",
            [keys.changes(partition), keys.partition_counters(partition)],
            [group, *change_ids],
        )
        for partition, change_ids in matched.items()
        if change_ids
    ]
    if calls:
        await store.run_many(calls)


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
        ]
        member = keys.resource_member(tenant, resource_type, resource_id)
        arguments += [member, resource_id, number, "" if stays_ms is None else stays_ms]
    return int(await store.run(ScriptCall("remove_versions", script_keys, arguments)))
