"""`python -m tests.faults [names] [--short] [--json]`: the fault campaign, and its report in docs/reliability.md (`make faults`)."""

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
from tests.faults.campaign import Result, Scenario, Size, judged, short_folder
from tests.faults.scenarios.table import SCENARIOS

KEPT = Path("faults-failed")


def _parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Breaks the broker under load, in every way there is, and judges each run by its promises.",
        epilog="example: python -m tests.faults store-killed random-kills --short",
    )
    shown.add_argument("names", nargs="*", metavar="scenario", help="which; all by default (--list tells)")
    shown.add_argument("--short", action="store_true", help="a look at each, a few minutes in all")
    shown.add_argument("--json", action="store_true", help="a JSON line a scenario, nothing else")
    shown.add_argument("--list", action="store_true", help="the scenarios, a line each")
    shown.add_argument(
        "--report", type=Path, help="the page to write the table into, such as docs/reliability.md"
    )
    return shown


async def _one(scenario: Scenario, size: Size) -> Result:
    with short_folder() as folder:
        try:
            result, verdict = await judged(scenario, folder, size)
        except Exception as error:  # noqa: BLE001 whatever a scenario fails with is what it came to
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
            for one in (*folder.glob("*.log"), folder / "history.jsonl"):
                if one.exists():
                    shutil.copy(one, kept)
            if verdict is not None:
                (kept / "verdict.txt").write_text(str(verdict))
    return result


async def _run(wanted: Sequence[Scenario], size: Size, *, is_json: bool) -> list[Result]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    results = []
    with Progress(*columns, console=Console(stderr=True), disable=is_json, transient=True) as progress:
        shown = progress.add_task("", total=len(wanted))
        for scenario in wanted:
            progress.update(shown, description=scenario.title)
            result = await _one(scenario, size)
            results.append(result)
            progress.advance(shown)
            if is_json:
                print(json.dumps(result.to_json()), flush=True)  # noqa: T201 what it was asked for
            else:
                progress.console.print(report.line(result))
    return results


def main() -> int:
    """0 if every promise was kept, 1 if not, 2 for a name that is none."""
    asking = _parser()
    asked = asking.parse_args()
    known = {one.name: one for one in SCENARIOS}
    if asked.list:
        Console().print(report.listing(SCENARIOS))
        return 0
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        asking.error(f"there is no scenario {unknown[0]!r}; --list shows them")
    wanted = [known[name] for name in asked.names] or list(SCENARIOS)
    results: list[Result] = []

    async def until_told(stop: asyncio.Event) -> None:
        work = asyncio.create_task(_run(wanted, Size(is_short=asked.short), is_json=asked.json))
        asking_to_stop = asyncio.create_task(stop.wait())
        await asyncio.wait([work, asking_to_stop], return_when=asyncio.FIRST_COMPLETED)
        asking_to_stop.cancel()
        if not work.done():
            work.cancel()
        results.extend(await work)

    try:
        loop.run(until_told)
    except asyncio.CancelledError:
        return 130
    if not asked.json:
        Console().print(report.table(results))
    if asked.report is not None:
        report.write(asked.report, results)
    bad = [one.scenario for one in results if not one.is_good]
    if bad:
        Console(stderr=True).print(f"promises broken in {', '.join(bad)}; histories and logs are in {KEPT}/")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
