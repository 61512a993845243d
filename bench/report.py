"""Tells figures: a JSON line each, a table, and bar charts as SVG, written by hand because three rectangles need no library."""

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
    shown = Table("bench", "figure", "value", "unit", "bound", "holds")
    for one in figures:
        holds = "" if one.holds is None else "yes" if one.holds else "NO"
        shown.add_row(one.bench, one.name, f"{one.value:,.2f}", one.unit, one.bound, holds)
    return shown


def print_table(figures: Iterable[Figure]) -> None:
    Console().print(table(figures))


def bars(title: str, figures: Sequence[Figure]) -> str:
    """A chart of figures of one unit; a bound is a line across its bar, and a bar that misses it is red."""
    most = max((max(one.value, one.at_most or 0, one.at_least or 0) for one in figures), default=1) or 1
    width, height = _LEFT + _BARS + _RIGHT, _TOP + _ROW * len(figures) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" fill="#222222">{escape(title)}</text>',
    ]
    for n, one in enumerate(figures):
        y = _TOP + n * _ROW
        long = _BARS * max(one.value, 0) / most
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222222">{escape(one.name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{long:.1f}" height="{_ROW - 8}" fill="{_COLOURS[one.holds]}"/>',
            f'<text x="{_LEFT + long + 6:.1f}" y="{y + 15}" fill="#222222">{one.value:,.4g} {escape(one.unit)} {escape(one.bound)}</text>',
        ]
        bound = one.at_most if one.at_most is not None else one.at_least
        if bound is not None:
            x = _LEFT + _BARS * bound / most
            parts.append(f'<path d="M{x:.1f} {y}v{_ROW - 2}" stroke="#222222" stroke-dasharray="3 2"/>')
    return "\n".join([*parts, "</svg>", ""])


def write_charts(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """A file a bench and unit, those of one bar left out; what stood there before is replaced."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for one in figures:
        groups.setdefault((one.bench, one.unit), []).append(one)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (bench, unit), some in groups.items():
        if len(some) < 2 and some[0].holds is None:
            continue
        name = "-".join(
            filter(None, (bench, "".join(c if c.isalnum() else "-" for c in unit or "ratio").strip("-")))
        )
        path = folder / f"{name.replace('µ', 'u')}.svg"
        path.write_text(bars(f"{bench}: {unit or 'ratios'}", some), encoding="utf-8")
        written.append(path)
    return written
