"""Reports figures as JSON lines, a table, and bar charts in SVG."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure

_ROW, _LEFT, _BARS, _RIGHT, _TOP = 26, 300, 380, 150, 40
_COLOURS = {None: "#5b7fa6", True: "#4f9a6b", False: "#c2674f"}


def json_line(figure: Figure) -> str:
    return json.dumps(figure.as_json(), ensure_ascii=False)


def table(figures: Iterable[Figure]) -> Table:
    rows = Table("bench", "figure", "value", "unit", "bound", "holds")
    for figure in figures:
        holds = "" if figure.holds is None else "yes" if figure.holds else "NO"
        rows.add_row(figure.bench, figure.name, f"{figure.value:,.2f}", figure.unit, figure.bound, holds)
    return rows


def print_table(figures: Iterable[Figure]) -> None:
    Console().print(table(figures))


def bars(title: str, figures: Sequence[Figure]) -> str:
    """A chart of figures with one unit. A bound is a line across its bar; a bar that misses its bound is
    red.
    """
    largest = (
        max((max(each.value, each.at_most or 0, each.at_least or 0) for each in figures), default=1) or 1
    )
    width, height = _LEFT + _BARS + _RIGHT, _TOP + _ROW * len(figures) + 12
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" fill="#222222">{escape(title)}</text>',
    ]
    for n, figure in enumerate(figures):
        y = _TOP + n * _ROW
        length = _BARS * max(figure.value, 0) / largest
        value = f"{figure.value:,.4g} {escape(figure.unit)} {escape(figure.bound)}"
        name, colour = escape(figure.name), _COLOURS[figure.holds]
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222222">{name}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{length:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 15}" fill="#222222">{value}</text>',
        ]
        bound = figure.at_most if figure.at_most is not None else figure.at_least
        if bound is not None:
            x = _LEFT + _BARS * bound / largest
            parts.append(f'<path d="M{x:.1f} {y}v{_ROW - 2}" stroke="#222222" stroke-dasharray="3 2"/>')
    return "\n".join([*parts, "</svg>", ""])


def write_charts(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Writes one chart per bench and unit, except those with a single bar without a bound. Replaces older
    charts.
    """
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.bench, figure.unit), []).append(figure)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (bench, unit), group in groups.items():
        if len(group) < 2 and group[0].holds is None:
            continue
        name = "-".join(
            filter(None, (bench, "".join(c if c.isalnum() else "-" for c in unit or "ratio").strip("-")))
        )
        path = folder / f"{name.replace('µ', 'u')}.svg"
        path.write_text(bars(f"{bench}: {unit or 'ratios'}", group), encoding="utf-8")
        written.append(path)
    return written
