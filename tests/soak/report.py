"""The report of a soak, for the terminal and for docs/reliability.md."""

from pathlib import Path

from tests.soak.flatness import Trend
from tests.soak.soak import Result, Size

BEGIN, END = "<!-- soak -->", "<!-- end of soak -->"


def markdown(result: Result, size: Size) -> str:
    """The result as a paragraph and two tables."""
    failures = f"{len(result.failed)} steps failed" if result.failed else "no step failed"
    left = ", ".join(f"{count} {name}" for name, count in result.left_over.items()) or "nothing"
    lines = [
        f"{result.seconds / 60:g} minutes of load with `BROKER_RETENTION={size.retention_s}s`; {failures}.",
        f"Left over: {left}.",
        "",
        "| measured over the second half | level | growth in an hour | standard error | flat |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, trend in result.trends.items():
        cells = (_amount(name, trend.level), _growth(trend), _amount(name, trend.error_per_hour))
        lines.append(f"| {name} | {' | '.join(cells)} | {'yes' if trend.is_flat else '**no**'} |")
    lines += ["", "| actors | steps |", "| --- | --- |"]
    lines += [f"| {name} | {count} |" for name, count in sorted(result.done.items())]
    return "\n".join(lines)


def _amount(name: str, value: float) -> str:
    return f"{value:,.0f}" if name.startswith("keys") else f"{value / 1024**2:.2f} MiB"


def _growth(trend: Trend) -> str:
    return f"{trend.share_per_hour:+.1%}"


def write(page: Path, text: str) -> None:
    """Writes the report between its markers. Raises ValueError if the page has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no markers for the report: {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
