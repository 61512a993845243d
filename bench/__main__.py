"""`python -m bench [names] [--quick] [--json]`: runs the named benches, or all of them. Prints the figures as
JSON lines and as a table, and draws charts.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Protocol

from bench import (
    access,
    attempts,
    audit,
    backlog,
    durability,
    files,
    idle,
    isolation,
    large,
    latency,
    match,
    memory,
    neighbour,
    neighbours,
    overload,
    pipeline,
    profiles,
    readings,
    register,
    report,
    restart,
    scale,
    search,
    security,
    signatures,
    stalls,
    tracing,
    write,
)
from bench.figures import Figure
from broker.cli import loop

RESULTS = Path(__file__).parent / "results"


class Measure(Protocol):
    """Yields figures as it measures them. `is_quick` uses smaller sizes, for a first impression only."""

    def __call__(self, *, is_quick: bool) -> AsyncIterator[Figure]: ...


async def _match(*, is_quick: bool) -> AsyncIterator[Figure]:
    for figure in match.measure(match.SIZES[:3], 300) if is_quick else match.measure(match.SIZES, 2_000):
        yield Figure("match", figure.name, figure.value, figure.unit, at_most=figure.at_most)
        await asyncio.sleep(0)


BENCHES: Mapping[str, Measure] = {
    "match": _match,
    "pipeline": pipeline.measure,
    "latency": latency.measure,
    "backlog": backlog.measure,
    "isolation": isolation.measure,
    "durability": durability.measure,
    "memory": memory.measure,
    "overload": overload.measure,
    "access": access.measure,
    "attempts": attempts.measure,
    "audit": audit.measure,
    "tracing": tracing.measure,
    "neighbour": neighbour.measure,
    "neighbours": neighbours.measure,
    "readings": readings.measure,
    "register": register.measure,
    "stalls": stalls.measure,
    "large": large.measure,
    "restart": restart.measure,
    "rewrite": files.measure_rewrite,
    "start": files.measure_start,
    "scale": scale.measure,
    "search": search.measure,
    "idle": idle.measure,
    "profiles": profiles.measure,
    "signatures": signatures.measure,
    "security": security.measure,
    "write": write.measure,
}


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the broker. Every bound applies to a ratio or figure of one run.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="use smaller sizes, for a first impression")
    parser.add_argument("--json", action="store_true", help="print JSON lines only")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the folder for the charts (default: bench/results)"
    )
    return parser


async def _run(names: list[str], *, is_quick: bool, report_figure: Callable[[Figure], None]) -> None:
    for name in names:
        async for figure in BENCHES[name](is_quick=is_quick):
            report_figure(figure)


def main() -> None:
    parser = argument_parser()
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"unknown bench {unknown[0]!r}; the benches are {', '.join(BENCHES)}")
    figures: list[Figure] = []

    def report_figure(figure: Figure) -> None:
        figures.append(figure)
        print(report.json_line(figure), flush=True)  # noqa: T201 the output of the program

    async def until_stopped(stop: asyncio.Event) -> None:
        """Stops early when asked to, together with the processes that it started."""
        work = asyncio.create_task(
            _run(arguments.names or list(BENCHES), is_quick=arguments.quick, report_figure=report_figure)
        )
        stop_requested = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stop_requested], return_when=asyncio.FIRST_COMPLETED)
        stop_requested.cancel()
        if not work.done():
            work.cancel()
        await work

    try:
        loop.run(until_stopped)
    except asyncio.CancelledError:
        raise SystemExit(130) from None
    if not arguments.json:
        report.print_table(figures)
    report.write_charts(figures, arguments.results)


if __name__ == "__main__":
    main()
