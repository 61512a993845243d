"""Events per second from POST to received notification, with one event per notification, compared with the
floor in the same run.

One process of the broker and one of the floor, with a store each, run segments in turns, and a second broker
without search indexes, which shows what they cost. CPU time per event is measured too: it varies less than
wall time on a machine with other load.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, floor, patients, register
from bench.segments import Segment, drive, listening

BENCH = "pipeline"
FLOOR_SHARE = 0.6
_UNINDEXED = "id-only without search indexes"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (3, 1_500) if is_quick else (7, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs: dict[str, Program] = {
            "floor": await stack.enter_async_context(floor(sink)),
            "broker": await stack.enter_async_context(broker()),
            _UNINDEXED: await stack.enter_async_context(broker(settings={"search_indexes": "off"})),
        }
        names = {
            "floor": patients("floor"),
            "id-only": patients("patient"),
            "full-resource": patients("full"),
            _UNINDEXED: patients("unindexed"),
        }
        await register(programs["broker"], sink, names["id-only"])
        await register(programs["broker"], sink, names["full-resource"], content="full-resource")
        await register(programs[_UNINDEXED], sink, names[_UNINDEXED])
        runs: dict[str, list[Segment]] = {name: [] for name in names}
        for n in range(rounds + 1):
            for name, group in names.items():
                segment = await drive(programs.get(name, programs["broker"]), sink, group, count)
                if n:  # the first round warms up
                    runs[name].append(segment)
    for figure in _compared_with_floor(runs):
        yield figure


def _compared_with_floor(runs: dict[str, list[Segment]]) -> list[Figure]:
    figures = []
    for name, segments in runs.items():
        figures.append(Figure(BENCH, name, _median(segments), "events/s"))
        figures.append(Figure(BENCH, f"{name}, CPU", _cpu(segments), "µs/event"))
        figures += [
            Figure(
                BENCH,
                f"{name}, CPU of {process}",
                statistics.median(segment.cpu_us[process] for segment in segments),
                "µs/event",
            )
            for process in segments[0].cpu_us
        ]
    floor_rates = [segment.per_s for segment in runs["floor"]]
    for name in ("id-only", "full-resource"):
        share = paired_ratio([segment.per_s for segment in runs[name]], floor_rates)
        figures.append(Figure(BENCH, f"{name} / floor", share, at_least=FLOOR_SHARE))
    cost = paired_ratio(
        *([sum(each.cpu_us.values()) for each in runs[name]] for name in ("id-only", _UNINDEXED))
    )
    figures.append(Figure(BENCH, "CPU, with the default search indexes / without", cost))
    return figures


def _median(segments: list[Segment]) -> float:
    return statistics.median(segment.per_s for segment in segments)


def _cpu(segments: list[Segment]) -> float:
    return statistics.median(sum(segment.cpu_us.values()) for segment in segments)
