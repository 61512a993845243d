"""`python -m tests.soak [--minutes N] [--report PAGE]`: keeps a broker busy and checks that nothing grows.

`make soak` runs it and writes its report into docs/reliability.md.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from broker.cli import loop
from tests.soak import report
from tests.soak.soak import Result, Size, run

_MINUTE_S = 60.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Keeps a broker with a short retention busy, and checks that its memory is flat and that "
        "nothing is left over.",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="the length of the load (default: 30)")
    parser.add_argument("--retention", type=int, default=30, help="BROKER_RETENTION in seconds (default: 30)")
    parser.add_argument("--rate", type=float, default=100.0, help="readings in a second (default: 100)")
    parser.add_argument(
        "--report", type=Path, help="write the result into this page, for example docs/reliability.md"
    )
    return parser


async def _run(size: Size) -> Result:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("starting", total=1.0)
        return await run(
            Path(folder), size, lambda text, share: progress.update(task, description=text, completed=share)
        )


def main() -> int:
    """Exit code: 0 if memory is flat and nothing is left over, 1 if not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    load_s = arguments.minutes * _MINUTE_S
    size = Size(
        load_s=load_s,
        # caches fill, and the first retention passes
        warm_s=min(load_s, max(_MINUTE_S, 2.0 * arguments.retention)),
        sample_s=max(0.5, load_s / 600),
        retention_s=arguments.retention,
        per_s=arguments.rate,
    )
    results: list[Result] = []

    async def until_stopped(stop: asyncio.Event) -> None:
        work = asyncio.create_task(_run(size))
        stop_requested = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stop_requested], return_when=asyncio.FIRST_COMPLETED)
        stop_requested.cancel()
        if not work.done():
            work.cancel()
        results.append(await work)

    try:
        loop.run(until_stopped)
    except asyncio.CancelledError:
        return 130
    (result,) = results
    text = report.markdown(result, size)
    Console().print(Markdown(text))
    for failure in result.failed[:20]:
        Console(stderr=True).print(failure, markup=False)
    if arguments.report is not None:
        report.write(arguments.report, text)
    return 0 if result.is_clean and result.is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
