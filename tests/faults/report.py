"""Tells what the campaign came to: a line a scenario, a table, and the table of docs/reliability.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from tests.faults.campaign import Result, Scenario

BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
_HEAD = (
    "what was broken",
    "how often",
    "acknowledged",
    "delivered",
    "lost",
    "twice",
    "recovery, longest",
    "",
)


def _row(one: Result) -> tuple[str, ...]:
    if one.skipped:
        return one.title, "–", "–", "–", "–", "–", "–", f"skipped: {one.skipped}"
    longest = f"{max(one.recoveries_s):.1f} s" if one.recoveries_s else "–"
    figures = "; ".join(f"{name}: {value:g}" for name, value in one.figures.items())
    broken = ", ".join(f"{rule}: {count}" for rule, count in one.broken.items())
    return (
        one.title,
        str(sum(one.faults.values())),
        str(one.acknowledged),
        str(one.delivered),
        str(one.lost),
        str(one.duplicates),
        longest,
        broken or figures,
    )


def line(one: Result) -> str:
    """For the run as it goes."""
    mark = "–" if one.skipped else "ok" if one.is_good else "BROKEN"
    return f"{mark:7}{one.title} ({one.seconds:.0f} s)"


def table(results: Iterable[Result]) -> Table:
    shown = Table(*_HEAD)
    for one in results:
        shown.add_row(*_row(one), style=None if one.is_good else "red")
    return shown


def listing(scenarios: Sequence[Scenario]) -> Table:
    shown = Table("scenario", "what is broken")
    for one in scenarios:
        shown.add_row(one.name, one.title)
    return shown


def markdown(results: Iterable[Result]) -> str:
    rows = [_HEAD, ("---",) * len(_HEAD), *map(_row, results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(page: Path, results: Iterable[Result]) -> None:
    """Puts the table between its marks. Raises ValueError for a page without them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", encoding="utf-8")
