"""Reports the results of the campaign: a line per scenario, a table, and the table in docs/reliability.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from tests.faults.campaign import Result, Scenario

BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
_HEAD = (
    "fault",
    "times",
    "acknowledged",
    "delivered",
    "lost",
    "twice",
    "recovery, longest",
    "",
)


def _row(result: Result) -> tuple[str, ...]:
    if result.skipped:
        return result.title, "–", "–", "–", "–", "–", "–", f"skipped: {result.skipped}"
    longest = f"{max(result.recoveries_s):.1f} s" if result.recoveries_s else "–"
    figures = "; ".join(f"{name}: {value:g}" for name, value in result.figures.items())
    return (
        result.title,
        str(sum(result.faults.values())),
        str(result.acknowledged),
        str(result.delivered),
        str(result.lost),
        str(result.duplicates),
        longest,
        _broken(result) or figures,
    )


def _broken(result: Result) -> str:
    return ", ".join(f"{rule}: {count}" for rule, count in result.broken.items())


def line(result: Result) -> str:
    """One line for the terminal while the campaign runs."""
    mark = "–" if result.skipped else "ok" if result.is_good else "BROKEN"
    reason = f": {_broken(result)}" if result.broken else ""
    return f"{mark:7}{result.title} ({result.seconds:.0f} s){reason}"


def table(results: Iterable[Result]) -> Table:
    table_of_results = Table(*_HEAD)
    for result in results:
        table_of_results.add_row(*_row(result), style=None if result.is_good else "red")
    return table_of_results


def listing(scenarios: Sequence[Scenario]) -> Table:
    shown = Table("scenario", "fault")
    for scenario in scenarios:
        shown.add_row(scenario.name, scenario.title)
    return shown


def markdown(results: Iterable[Result]) -> str:
    rows = [_HEAD, ("---",) * len(_HEAD), *map(_row, results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(page: Path, results: Iterable[Result]) -> None:
    """Writes the table between its markers. Raises ValueError if the page has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no markers for the table: {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", encoding="utf-8")
