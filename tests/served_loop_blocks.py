"""Finds what blocks the event loop of a broker that tests start as a process of its own.

Such a broker runs on uvloop, whose handles cannot be timed as those of asyncio are. What tasks and callbacks
do passes `call_soon`, so a loop with a `call_soon` of its own times them, in processor time of the thread as
`LoopBlocks` does: a machine with other work, a suspended process or a slow disk makes no block. The task of
the command itself is left out, since what it does comes before the broker is ready or when it stops.

A process appends each block to a file at once, so that one that is killed has reported too. The process of
pytest reads the file after each test.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextvars import Context
from typing import IO, TypeVarTuple

import uvloop

from tests.loop_blocks import LoopBlocks

_SERVERS = frozenset({"serve", "api", "match", "dispatch"})
_COMMAND = "broker/cli/loop.py"
"""Has the coroutine of the task of a command."""
_END = b"\0"
Ts = TypeVarTuple("Ts")


def watch(arguments: list[str], file: str, test: str) -> None:
    """In a process that becomes a broker: from now on, the blocks of its event loop go to the file. `test`
    started it. Other commands are not watched.
    """
    if not _SERVERS.intersection(arguments[:1]):
        return
    title = f"`fhir-broker {' '.join(arguments)}`, process {os.getpid()}, started by {test or 'a fixture'}"
    blocks = LoopBlocks(lambda text: _append(file, f"{title}: {text}"), leaves_out=(_COMMAND,))
    blocks.watch()

    class TimedLoop(uvloop.Loop):
        """Times what tasks and callbacks do."""

        def call_soon(
            self, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
        ) -> asyncio.Handle:
            return super().call_soon(blocks.timed, callback, callback, *arguments, context=context)

    uvloop.new_event_loop = TimedLoop


def _append(file: str, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, text.encode() + _END)
    finally:
        os.close(descriptor)


class ReportedBlocks:
    """The side of pytest: the file, and how far it was read."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    @property
    def file(self) -> str:
        """The name of the file, which is removed when this process ends."""
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(prefix="loop-blocks-")  # noqa: SIM115 open until the end
        return self._file.name

    def take(self) -> list[str]:
        """The blocks since the last call, in words."""
        if self._file is None:
            return []  # no broker was started yet
        reports = self._file.read()
        complete, _, rest = reports.rpartition(_END)
        self._file.seek(-len(rest), os.SEEK_CUR)
        return [text.decode() for text in complete.split(_END) if text]


REPORTED_BLOCKS = ReportedBlocks()
