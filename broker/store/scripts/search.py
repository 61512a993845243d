"""Scripts of searches: the moment of a snapshot, pieces of the sorted sets, and the index of one resource."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.change import Tenant, VersionKey
from broker.store import search_keys
from broker.store.protocol import ScriptCall, Store, WriteConcern


class PieceOfSet(NamedTuple):
    """A piece of a sorted set: the scores it may have, the order, and the score and member it comes after."""

    partition: int
    name: str
    low: int
    high: int
    is_descending: bool
    after: tuple[int, str] | None


class Members(NamedTuple):
    """Scores with their members in order, and whether others follow."""

    members: Sequence[tuple[int, str]]
    has_more: bool


async def advance_read_moment(store: Store) -> int:
    """A moment at which all that was written is visible and on disk, and that no later write gets."""
    moments = await _advance(store, range(store.layout.partitions), 0)
    latest = max(moments.values())
    behind = [partition for partition, moment in moments.items() if moment < latest]
    if behind:
        await _advance(store, behind, latest)
    return latest


async def _advance(store: Store, partitions: Sequence[int], at_least: int) -> dict[int, int]:
    calls = [
        ScriptCall("advance_read_moment", [search_keys.moments(partition)], [at_least])
        for partition in partitions
    ]
    replies = await store.run_many(calls, WriteConcern.DURABLE)
    return {partition: int(reply) for partition, reply in zip(partitions, replies, strict=True)}


async def read_pieces(
    store: Store, tenant: Tenant, resource_type: str, pieces: Sequence[PieceOfSet], size: int
) -> list[Members]:
    """Up to `size` members of each piece; one round trip."""
    calls = [
        ScriptCall(
            "search_page",
            [search_keys.search_sets(piece.partition, tenant, resource_type) + piece.name],
            [
                "down" if piece.is_descending else "up",
                piece.low,
                piece.high,
                size,
                *(("", "") if piece.after is None else piece.after),
            ],
        )
        for piece in pieces
    ]
    replies = await store.run_many(calls) if calls else []
    return [
        Members(
            [(int(score), name.decode()) for name, score in zip(flat[::2], flat[1::2], strict=True)],
            has_more=bool(more),
        )
        for more, *flat in replies
    ]


def index_resource_call(
    store: Store, name: str, key: VersionKey, sets: Sequence[str] | None, date: int
) -> ScriptCall:
    """Puts the current version, whose string is `name`, into the sets; None: its type has no indexes."""
    partition = store.layout.partition_of(key.tenant, key.id)
    listed = "".join(f"{each}\n" for each in sets or ())
    return ScriptCall(
        "index_resource",
        [
            name,
            search_keys.search_sets(partition, key.tenant, key.type),
            search_keys.search_types(partition, key.tenant),
        ],
        [key.version, key.type, key.id, listed, date, 0 if sets is None else 1],
    )
