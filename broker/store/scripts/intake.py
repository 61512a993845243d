"""Scripts on the changes stream of a partition: append, acknowledge, trim."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.store import keys
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
            keys.current(p, tenant, resource_type, resource_id),
            keys.versions(p, tenant, resource_type, resource_id),
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
        arguments += [encode(proposed), logged, proposal.head, proposal.tail]
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


async def trim_changes(
    store: Store, group: str, partitions: Sequence[int], *, keep_ms: int, max_changes: int, limit: int
) -> list[int]:
    """Removes matched changes that are too old or too many, up to `limit` a partition; how many."""
    arguments: list[Argument] = [group, keep_ms, max_changes, limit]
    calls = [ScriptCall("trim_changes", [keys.changes(partition)], arguments) for partition in partitions]
    return [int(removed) for removed in await store.run_many(calls)]
