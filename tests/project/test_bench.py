"""The arithmetic and the reports of the benches. No test depends on how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import BENCHES
from bench.figures import Figure, latencies, paired_ratio, percentile, spread
from bench.report import bars, json_line, write_charts
from bench.wire import Framing, request

ROOT = Path(__file__).resolve().parents[2]


def test_a_percentile_is_the_smallest_value_that_covers_its_share() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7.0], 0.5) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_is_in_milliseconds() -> None:
    measured = spread([0.001, 0.002, 0.1])
    assert (measured.p50, measured.p99, measured.max) == (2, 100, 100)


def test_a_paired_ratio_compares_neighbours_only() -> None:
    # the machine was ten times slower for both values of the second pair
    assert paired_ratio([60, 6, 66], [100, 10, 100]) == 0.6


def test_a_lost_notification_fails_the_measurement() -> None:
    assert latencies({"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 2.25, "other": 9.0}) == [0.5, 0.25]
    with pytest.raises(ValueError, match="1 of 2 never arrived"):
        latencies({"a": 1.0, "b": 2.0}, {"a": 1.5})


@pytest.mark.parametrize(
    ("figure", "holds", "bound"),
    [
        (Figure("b", "n", 5), None, ""),
        (Figure("b", "n", 5, at_most=5), True, "≤ 5"),
        (Figure("b", "n", 5.1, at_most=5), False, "≤ 5"),
        (Figure("b", "n", 0.6, at_least=0.6), True, "≥ 0.6"),
        (Figure("b", "n", 0.59, at_least=0.6), False, "≥ 0.6"),
    ],
)
def test_a_figure_reports_whether_it_keeps_its_bound(figure: Figure, holds: bool | None, bound: str) -> None:
    assert (figure.holds, figure.bound) == (holds, bound)
    assert json.loads(json_line(figure))["holds"] is holds


def test_a_chart_is_xml_with_one_bar_per_figure() -> None:
    figures = [Figure("b", "a < b & c", 5, "ms", at_most=10), Figure("b", "twice", 10, "ms")]
    chart = ET.fromstring(bars("ms", figures))  # noqa: S314 written by this test
    bars_of = chart.findall("{http://www.w3.org/2000/svg}rect")[1:]
    assert [float(bar.attrib["width"]) for bar in bars_of] == [190, 380]
    assert len(chart.findall("{http://www.w3.org/2000/svg}path")) == 1


def test_a_chart_of_zeros_does_not_divide_by_zero() -> None:
    ET.fromstring(bars("ms", [Figure("b", "n", 0), Figure("b", "m", 0)]))  # noqa: S314 written by this test


def test_there_is_one_chart_file_per_unit(tmp_path: Path) -> None:
    figures = [
        Figure("b", "n", 1, "ms"),
        Figure("b", "m", 2, "ms"),
        Figure("b", "lonely", 2, "s"),
        Figure("b", "r", 2, at_most=3),
    ]
    assert [path.name for path in write_charts(figures, tmp_path / "new")] == ["b-ms.svg", "b-ratio.svg"]


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 50))
def test_messages_are_reassembled_however_they_are_split(bodies: list[bytes], step: int) -> None:
    wire = b"".join(request("/r4/Observation", body) for body in bodies)
    framing = Framing()
    received = [body for n in range(0, len(wire), step) for _, body in framing.feed(wire[n : n + step])]
    assert received == bodies


def test_help_lists_the_benches() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    for name in BENCHES:
        assert name in run.stdout


def test_an_unknown_bench_is_refused_with_a_list_of_all_benches() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert run.returncode == 2
    assert "unknown bench 'speed'; the benches are match, pipeline" in run.stderr
