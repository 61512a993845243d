"""Ranges that divide a sorted set of searches into parts of about the same size, for exports.

A range is bounded by places and not by ranks, so it means the same whatever is added and removed meanwhile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from broker.store.protocol import Command, Store


class RangeOfSet(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The members of a sorted set of one partition after a place (score and member; None: from the beginning)
    up to another, included (None: to the end).
    """

    partition: int
    after: tuple[int, str] | None
    until: tuple[int, str] | None


class DividedRange(NamedTuple):
    """A range, and about how many members it has now."""

    range: RangeOfSet
    size: int


async def divide(store: Store, names: Sequence[str], low: int, high: int, size: int) -> list[DividedRange]:
    """Ranges of about `size` members that together cover the members with scores from `low` to `high`, both
    included, of a set that has a name in each partition. Each partition has a range, though it may be empty
    now.
    """
    partitions = range(len(names))
    counted: list[Command] = [
        ("ZCOUNT", name, *edges) for name in names for edges in (("-inf", f"({low}"), (low, high))
    ]
    counts: Sequence[int] = await store.send(counted)
    firsts, sizes = counts[::2], counts[1::2]
    ranks = [
        (partition, firsts[partition] + number - 1)
        for partition in partitions
        for number in range(size, sizes[partition], size)
    ]
    ranked: list[Command] = [("ZRANGE", names[each], rank, rank, "WITHSCORES") for each, rank in ranks]
    replies: Sequence[Sequence[bytes]] = await store.send(ranked) if ranked else []
    ends: dict[int, set[tuple[int, str]]] = {partition: set() for partition in partitions}
    for (partition, _), reply in zip(ranks, replies, strict=True):
        if reply:  # else the set became smaller
            ends[partition].add((int(reply[1]), reply[0].decode()))
    return [
        DividedRange(RangeOfSet(partition, after, until), min(size, sizes[partition]))
        for partition in partitions
        for after, until in _between(sorted(ends[partition]))
    ]


def _between(
    ends: Sequence[tuple[int, str]],
) -> list[tuple[tuple[int, str] | None, tuple[int, str] | None]]:
    return list(zip([None, *ends], [*ends, None], strict=True))
