"""The report of a soak, for the terminal and for docs/reliability.md."""

from pathlib import Path

from tests.soak.flatness import Trend
from tests.soak.soak import Result, Size

_MAX_SHOWN = 5
BEGIN, END = "<!-- soak -->", "<!-- end of soak -->"


def markdown(result: Result, size: Size) -> str:
    """The result as a paragraph and three tables."""
    failures = f"{len(result.failed)} steps failed" if result.failed else "no step failed"
    left = ", ".join(f"{count} {name}" for name, count in result.left_over.items()) or "nothing"
    overdue = ", ".join(result.lifetimes.overdue[:_MAX_SHOWN]) or "nothing"
    verdict = "passed" if result.is_clean and result.is_flat else "**failed**"
    head = (
        f"`python -m tests.soak --minutes {result.seconds / 60:g}`: {verdict}. "
        f"`BROKER_RETENTION={size.retention_s}s`; {result.done['readings'] / result.seconds:.0f} readings "
        f"in a second, of {size.per_s:g} that were to come; "
        f"{size.warm_s / 60:.1f} minutes of load before; {failures}. "
        f"The broker collected all of its garbage {result.collections} times."
    )
    lines = [
        head,
        "",
        f"Left over: {left}. Beyond its lifetime: {overdue}.",
        "",
        "| measured over the second half | level | growth in an hour | interval of 99 % | flat |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, trend in result.trends.items():
        interval = f"{_growth(trend, trend.at_least_per_hour)} to {_growth(trend, trend.at_most_per_hour)}"
        cells = (_amount(name, trend.level), _growth(trend, trend.per_hour), interval)
        lines.append(f"| {name} | {' | '.join(cells)} | {'yes' if trend.is_flat else '**no**'} |")
    lines += ["", "| entries of the store whose lifetime passed | number |", "| --- | --- |"]
    lines += [f"| {kind} | {count:,} |" for kind, count in sorted(result.lifetimes.compared.items())]
    lines += ["", "| actors | steps |", "| --- | --- |"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(result.done.items())]
    return "\n".join(lines)


def _amount(name: str, value: float) -> str:
    return f"{value:,.0f}" if "keys" in name or "blocks" in name else f"{value / 1024**2:.2f} MiB"


def _growth(trend: Trend, per_hour: float) -> str:
    return f"{trend.share(per_hour):+.1%}"


def write(page: Path, text: str) -> None:
    """Writes the report between its markers. Raises ValueError if the page has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no markers for the report: {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
