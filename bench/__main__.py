"""`python -m bench [names] [--quick] [--json]`: measures what is named, or everything; figures as JSON lines, a table and charts."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Protocol

from bench import backlog, durability, isolation, latency, match, pipeline, report, scale
from bench.figures import Figure
from broker.cli import loop

RESULTS = Path(__file__).parent / "results"


class Measure(Protocol):
    """Figures as they come; `is_quick` for a look, not for a statement."""

    def __call__(self, *, is_quick: bool) -> AsyncIterator[Figure]: ...


async def _match(*, is_quick: bool) -> AsyncIterator[Figure]:
    for one in match.measure(match.SIZES[:3], 300) if is_quick else match.measure(match.SIZES, 2_000):
        yield Figure("match", one.name, one.value, one.unit, at_most=one.at_most)
        await asyncio.sleep(0)


BENCHES: Mapping[str, Measure] = {
    "match": _match,
    "pipeline": pipeline.measure,
    "latency": latency.measure,
    "backlog": backlog.measure,
    "isolation": isolation.measure,
    "durability": durability.measure,
    "scale": scale.measure,
    "idle": scale.measure_idle,
}


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the broker; every bound is on a ratio or figure of one run.",
    )
    shown.add_argument(
        "names", nargs="*", metavar="name", help=f"which of {', '.join(BENCHES)}; all by default"
    )
    shown.add_argument("--quick", action="store_true", help="smaller and shorter, for a look")
    shown.add_argument("--json", action="store_true", help="JSON lines only")
    shown.add_argument(
        "--results", type=Path, default=RESULTS, help="where the charts go (default: bench/results)"
    )
    return shown


async def _run(names: list[str], *, is_quick: bool, tell: Callable[[Figure], None]) -> None:
    for name in names:
        async for figure in BENCHES[name](is_quick=is_quick):
            tell(figure)


def main() -> None:
    asking = parser()
    asked = asking.parse_args()
    unknown = [name for name in asked.names if name not in BENCHES]
    if unknown:
        asking.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    figures: list[Figure] = []

    def tell(figure: Figure) -> None:
        figures.append(figure)
        print(report.json_line(figure), flush=True)  # noqa: T201 this is what the program is for

    async def until_told(stop: asyncio.Event) -> None:
        """Ends early when asked to, and the processes it started with it."""
        work = asyncio.create_task(_run(asked.names or list(BENCHES), is_quick=asked.quick, tell=tell))
        asking_to_stop = asyncio.create_task(stop.wait())
        await asyncio.wait([work, asking_to_stop], return_when=asyncio.FIRST_COMPLETED)
        asking_to_stop.cancel()
        if not work.done():
            work.cancel()
        await work

    try:
        loop.run(until_told)
    except asyncio.CancelledError:
        raise SystemExit(130) from None
    if not asked.json:
        report.print_table(figures)
    report.write_charts(figures, asked.results)


if __name__ == "__main__":
    main()
