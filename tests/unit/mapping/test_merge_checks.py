"""Warnings of `merge`: windows and periods that the times, or the distance of the samples, make too small."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.compiling import compile_mapping
from broker.mapping.merge_checks import merge_warnings, tick_ms
from broker.mapping.reading import MappedReading
from broker.mapping.sampled import WINDOWS_MS
from broker.mapping.yaml_document import parse_yaml

FILE = """\
name: strap
match: kind == 'strap'
select: readings
device: {identifier: {system: 'http://example.org/devices', value: id}}
time:
  value: at
  format: 'FORMAT'
  zone: UTC
observations:
  - name: pulse
    code: [{system: loinc, code: 8867-4}]
    sampled-data: {samples: hr, period: PERIOD}
    quantity: {unit: /min}
    merge: MERGE
  - name: weight
    type: body-weight
    value: kg
    unit: kg
    merge: MERGE
  - name: motion
    code: [{system: 'http://example.org/motion', code: all}]
    merge: MERGE
    components:
      - name: still
        code: [{system: 'http://example.org/motion', code: still}]
        value: still
        kind: boolean
      - name: steps
        code: [{system: 'http://example.org/motion', code: steps}]
        sampled-data: {samples: steps, period: PERIOD}
        quantity: {unit: '{steps}'}
  - {name: alone, type: body-height, value: cm, unit: cm}
"""
SAMPLED = ("observations[0].sampled-data.period", "observations[2].components[1].sampled-data.period")


def warnings(
    form: str = "iso", period: object = 1000, merge: str = "hour", readings: Sequence[dict[str, Any]] = ()
) -> list[str]:
    text = FILE.replace("FORMAT", form).replace("PERIOD", str(period)).replace("MERGE", merge)
    mapping = compile_mapping("strap.yaml", text)
    mapped: list[MappedReading] = []
    if readings:
        payload = {"kind": "strap", "readings": [{"id": "s-1", **each} for each in readings]}
        for each in mapping.map(payload, datetime(2026, 3, 3, tzinfo=UTC)):
            assert isinstance(each, MappedReading), each
            mapped.append(each)
    return merge_warnings(parse_yaml("strap.yaml", text), mapping, mapped)


def fields(found: Sequence[str]) -> list[str]:
    return [each.split(": ")[1] for each in found]


@pytest.mark.parametrize(
    ("form", "period"),
    [
        ("iso", 100), ("epoch-ms", 100), ("epoch-us", 100), ("epoch-s", 1000), ("epoch-s", 60_000),
        ("%Y-%m-%d %H:%M:%S", 1000), ("%H:%M %d.%m.%Y", 60_000), ("%d.%m.%Y %H:%M:%S.%f", 100),
    ],
)  # fmt: skip
def test_a_period_that_the_times_tell_apart_is_no_warning(form: str, period: int) -> None:
    assert warnings(form, period) == []


@pytest.mark.parametrize(
    ("form", "period", "shown"),
    [
        ("epoch-s", 999, "1 s apart, unless they have fractions, and a place of 999 ms is shorter"),
        ("epoch-ms", "0.5", "1 ms apart, unless they have fractions, and a place of 0.5 ms is shorter"),
        ("%Y-%m-%d %H:%M:%S", 250, "1 s apart, and a place of 250 ms is shorter"),
        ("%Y-%m-%d %H:%M", 1000, "1 min apart, and a place of 1 s is shorter"),
        ("%Y%m%d%H", 90_000, "1 h apart, and a place of 1.5 min is shorter"),
    ],
)
def test_a_period_that_is_shorter_than_the_times_tell_apart_is_a_warning_at_its_line(
    form: str, period: object, shown: str
) -> None:
    first, second = warnings(form, period, "{by: session}")
    assert first.startswith(f"strap.yaml, line 12: {SAMPLED[0]}: times of the format {form} are {shown}")
    assert second.startswith(f"strap.yaml, line 30: {SAMPLED[1]}: ")
    assert f"a period of {tick_ms(form):f}" in first


@pytest.mark.parametrize(
    ("form", "merge", "is_warned"),
    [
        ("date", "hour", True), ("date", "day", True), ("%d.%m.%Y", "day", True), ("%Y%m%d%H", "hour", True),
        ("%Y%m%d%H", "day", False), ("%Y%m%d%H%M", "hour", False), ("iso", "day", False),
        ("date", "{by: session}", False), ("date", "time", False),
    ],
)  # fmt: skip
def test_a_window_of_values_that_all_have_one_time_is_a_warning(
    form: str, merge: str, *, is_warned: bool
) -> None:
    found = fields(warnings(form, 86_400_000, merge))
    assert found == (["observations[1].merge"] if is_warned else [])


def at(second: int, **values: Any) -> dict[str, Any]:
    return {"at": f"2026-03-02T08:{second // 60:02}:{second % 60:02}Z", **values}


@pytest.mark.parametrize(
    ("period", "seconds", "shown"),
    [
        (1000, (0, 60, 120), "are 1 min apart or more, and a place has 1 s: at least 59 of 60 places stay"),
        (1000, (120, 0, 90), "are 30 s apart or more, and a place has 1 s: at least 29 of 30"),
        (30_000, (0, 60), "are 1 min apart or more, and a place has 30 s: at least 1 of 2"),
        (30_001, (0, 60), ""),
        (60_000, (0, 60, 120), ""),
        (1000, (0,), ""),
        (1000, (0, 0), ""),
    ],
)  # fmt: skip
def test_a_period_of_at_most_half_the_distance_of_the_samples_is_a_warning(
    period: int, seconds: Sequence[int], shown: str
) -> None:
    found = warnings("iso", period, readings=[at(second, hr=61) for second in seconds])
    assert [shown in each for each in found] == ([True] if shown else [])
    assert fields(found) == ([SAMPLED[0]] if shown else [])


def test_a_reading_of_several_samples_has_them_up_to_the_next_reading() -> None:
    readings = [at(second, hr="61 E 62 63") for second in (0, 4, 8)]
    assert warnings("iso", 1000, readings=readings) == []
    (found,) = warnings("iso", 250, readings=readings)
    assert "are 1 s apart or more, and a place has 250 ms" in found
    assert "Take a period of about 1000." in found


def test_samples_of_a_component_are_compared_with_its_own_period() -> None:
    readings = [at(0, still=False), at(10, steps=4), at(20, still=True), at(50, steps=0)]
    assert fields(warnings("iso", 10_000, readings=readings)) == [SAMPLED[1]]
    assert warnings("iso", 40_000, readings=readings) == []


def test_samples_of_different_devices_or_sessions_are_not_compared() -> None:
    readings = [at(0, hr=61), at(1, hr=62, id="s-2"), at(60, hr=61), at(61, hr=62, id="s-2")]
    (found,) = warnings("iso", 1000, readings=readings)
    assert "are 1 min apart" in found
    sessions = [at(n * 30, hr=61, session=str(n % 2)) for n in range(4)]
    (found,) = warnings("iso", 1000, "{by: session}", readings=sessions)
    assert "are 1 min apart" in found


@given(st.sampled_from(["%f", "%S", "%M", "%H", "%d"]), st.sampled_from(["%Y", "%%f", "%%S", "%B"]))
def test_the_finest_directive_of_a_format_counts_and_a_percent_sign_is_none(finest: str, other: str) -> None:
    assert tick_ms(f"{other} {finest} {other}") == tick_ms(finest)
    assert tick_ms(other) == Decimal(WINDOWS_MS["day"])
