"""Turns RESP2 replies into the values that store modules work with."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.store.protocol import Command, ScanPlace, StreamRow

_SCANNED = 500
"""Keys that one SCAN looks at."""


def mapping_of(flat: Sequence[bytes] | None) -> dict[bytes, bytes]:
    """The mapping of a flat list of names and values; empty for None."""
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


def entries_of(reply: Sequence[Any]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream (XRANGE, XREVRANGE): each its id and its fields."""
    return [(entry_id, mapping_of(flat)) for entry_id, flat in reply]


def rows_of(reply: Sequence[Any] | None) -> list[StreamRow]:
    """The streams of an XREAD or XREADGROUP with their entries; none for None."""
    return [(stream, entries_of(rows)) for stream, rows in reply or ()]


def flatten(mapping: Mapping[Any, Any]) -> list[Any]:
    """The names and values of a mapping in turn, as XADD and HSET take them."""
    return [part for pair in mapping.items() for part in pair]


def key_sample_commands(count: int) -> list[Command]:
    """The commands whose replies `key_sample` reads."""
    return [("DBSIZE",), *[("RANDOMKEY",)] * count]


def scan_command(pattern: str, place: ScanPlace) -> Command:
    """Lists some of the keys of the node at `place`."""
    return ("SCAN", place.cursor, "MATCH", pattern, "COUNT", _SCANNED)


def key_sample(replies: Sequence[Any]) -> tuple[int, list[bytes]]:
    """The number of keys, and random ones; the store may have none."""
    total, *names = replies
    return total, [name for name in names if name is not None]
