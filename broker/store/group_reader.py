"""Reads a consumer group over a connection of its own, without what redis-py makes of an answer: that took longer than the read."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.store.batcher import Batcher
from broker.store.resp_connection import Argument

Row = Sequence[Any]
"""A stream's name and its entries, each its id and its fields, empty for one that was deleted."""


class GroupReader:
    """Of one server; `routing.py` has the same of a Cluster.

    What failed is not repeated: the lost answer of an XREADGROUP has entries that are pending now, and a repetition would read on
    behind them.
    """

    def __init__(self, pipeliner: Batcher) -> None:
        self._pipeliner = pipeliner

    async def xreadgroup(
        self,
        groupname: str,
        consumername: str,
        streams: Mapping[str, str],
        *,
        count: int,
        block: int | None,
    ) -> Sequence[Row]:
        blocking: tuple[Argument, ...] = () if block is None else ("BLOCK", block)
        command = ("XREADGROUP", "GROUP", groupname, consumername, "COUNT", count, *blocking)
        (answer,) = await self._pipeliner.exchange(
            [(*command, "STREAMS", *streams.keys(), *streams.values())], repeats=False
        )
        if isinstance(answer, Exception):
            raise answer
        return [
            (stream, [(entry_id, _fields(flat)) for entry_id, flat in entries])
            for stream, entries in answer or ()
        ]

    async def aclose(self) -> None:
        await self._pipeliner.close()


def _fields(flat: Sequence[bytes] | None) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
