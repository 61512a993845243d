"""`python -m tests.faults [names] [--short] [--json]`: runs the fault campaign.

`make faults` runs all of it and writes its report into docs/reliability.md.
"""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from broker.cli import loop
from tests.faults import report
from tests.faults.campaign import Result, Scenario, Size, run_scenario, short_folder
from tests.faults.scenarios.table import SCENARIOS

KEPT = Path("faults-failed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Injects faults into a broker under load and checks each run against its promises.",
        epilog="example: python -m tests.faults store-killed random-kills --short",
    )
    parser.add_argument(
        "names", nargs="*", metavar="scenario", help="the scenarios to run; default: all (see --list)"
    )
    parser.add_argument(
        "--short", action="store_true", help="run each scenario briefly, a few minutes in all"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line per scenario and nothing else"
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument(
        "--report",
        type=Path,
        help="write the table of results into this page, for example docs/reliability.md",
    )
    return parser


async def _run_one(scenario: Scenario, size: Size) -> Result:
    with short_folder() as folder:
        try:
            result, verdict = await run_scenario(scenario, folder, size)
        except Exception as error:  # noqa: BLE001 any failure is the result of the scenario
            result = Result(
                scenario.name,
                scenario.title,
                False,
                0.0,
                broken={str(error)[:200] or type(error).__name__: 1},
            )
            verdict = None
        if not result.is_good:
            kept = KEPT / scenario.name
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for file in (*folder.glob("*.log"), folder / "history.jsonl"):
                if file.exists():
                    shutil.copy(file, kept)
            if verdict is not None:
                (kept / "verdict.txt").write_text(str(verdict))
    return result


async def _run(wanted: Sequence[Scenario], size: Size, *, is_json: bool) -> list[Result]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    results = []
    with Progress(*columns, console=Console(stderr=True), disable=is_json, transient=True) as progress:
        task = progress.add_task("", total=len(wanted))
        for scenario in wanted:
            progress.update(task, description=scenario.title)
            result = await _run_one(scenario, size)
            results.append(result)
            progress.advance(task)
            if is_json:
                print(json.dumps(result.to_json()), flush=True)  # noqa: T201 the requested output
            else:
                progress.console.print(report.line(result))
    return results


def main() -> int:
    """Exit code: 0 if every promise was kept, 1 if not, 2 for an unknown scenario."""
    parser = _parser()
    arguments = parser.parse_args()
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    if arguments.list:
        Console().print(report.listing(SCENARIOS))
        return 0
    unknown = [name for name in arguments.names if name not in scenarios]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]!r}; --list shows all scenarios")
    wanted = [scenarios[name] for name in arguments.names] or list(SCENARIOS)
    results: list[Result] = []

    async def until_stopped(stop: asyncio.Event) -> None:
        work = asyncio.create_task(_run(wanted, Size(is_short=arguments.short), is_json=arguments.json))
        stop_requested = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stop_requested], return_when=asyncio.FIRST_COMPLETED)
        stop_requested.cancel()
        if not work.done():
            work.cancel()
        results.extend(await work)

    try:
        loop.run(until_stopped)
    except asyncio.CancelledError:
        return 130
    if not arguments.json:
        Console().print(report.table(results))
    if arguments.report is not None:
        report.write(arguments.report, results)
    failed = [result.scenario for result in results if not result.is_good]
    if failed:
        names = ", ".join(failed)
        Console(stderr=True).print(f"Promises were broken in {names}. Histories and logs are in {KEPT}/.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
