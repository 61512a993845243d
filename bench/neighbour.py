"""A busy neighbour: the rate of the pipeline beside a process that keeps one core busy, and without it.

One broker in one process, in segments that alternate. The neighbour is a loop without system calls. It runs
at the priority of the broker, and then at the lowest (`nice` 19). What it takes depends on the number of
cores: with two of them, one of which the measuring process needs, a rate of two thirds is what the processor
time alone explains. A switch is one of the operating system's, for an event (Linux only): because the process
waited, or because another one had its turn.
"""

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, patients, register
from bench.segments import drive, listening
from bench.wire import Sink

BENCH = "neighbour"
_NICE = {"alone": None, "beside a busy process": 0, "beside one at nice 19": 19}


@dataclass(slots=True)
class _Runs:
    """The segments of one kind. `switches` are those per event, by process and reason."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    switches: dict[str, list[float]] = field(default_factory=dict)


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 1_500) if is_quick else (4, 10_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        names = patients("patient")
        await register(program, sink, names)
        runs = {kind: _Runs() for kind in _NICE}
        for n in range(rounds + 1):
            for kind, nice in _NICE.items():
                with _busy_process(nice):
                    await _segment(program, sink, names, count, runs[kind] if n else _Runs())
    for kind, measured in runs.items():
        yield Figure(BENCH, f"rate {kind}", statistics.median(measured.per_s), "events/s")
        yield Figure(BENCH, f"CPU {kind}", statistics.median(measured.cpu_us), "µs/event")
        for reason, values in measured.switches.items():
            yield Figure(BENCH, f"{reason}, {kind}", statistics.median(values), "switches/event")
    alone, *beside = runs
    for kind in beside:
        yield Figure(BENCH, f"rate {kind} / alone", paired_ratio(runs[kind].per_s, runs[alone].per_s))


async def _segment(program: Program, sink: Sink, names: list[str], count: int, runs: _Runs) -> None:
    before = _switches(program)
    segment = await drive(program, sink, names, count)
    runs.per_s.append(segment.per_s)
    runs.cpu_us.append(sum(segment.cpu_us.values()))
    for reason, switches in _switches(program).items():
        runs.switches.setdefault(reason, []).append((switches - before[reason]) / count)


@contextlib.contextmanager
def _busy_process(nice: int | None) -> Iterator[None]:
    """Keeps one core busy while the block runs; None does nothing."""
    if nice is None:
        yield
        return
    source = f"import os; os.nice({nice - os.getpriority(os.PRIO_PROCESS, 0)})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", source])  # noqa: S603 a fixed program
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _switches(program: Program) -> dict[str, int]:
    """The context switches of each process so far; none where the operating system does not count them."""
    counted: dict[str, int] = {}
    for name, pid in program.pids.items():
        for line in _status(pid):
            field_name, _, value = line.partition(":")
            if field_name == "voluntary_ctxt_switches":
                counted[f"{name} waited"] = int(value)
            elif field_name == "nonvoluntary_ctxt_switches":
                counted[f"{name} gave way"] = int(value)
    return counted


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
