"""When a reading was taken: formats, zones, periods and what a device says about its clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.mapping.errors import MappingError
from tests.unit.mapping.payloads import RECEIVED, mapping, problem, reading


def moment(value: Any, form: str = "iso", zone: str = "") -> datetime:
    time = f"time: {{value: at, format: '{form}'{f', zone: {zone!r}' if zone else ''}}}"
    return reading({"hr": 72, "at": value}, time=time).start


@pytest.mark.parametrize(
    ("value", "form", "zone", "utc"),
    [
        ("2026-03-02T07:15:00+01:00", "iso", "", "2026-03-02T06:15:00"),
        ("2026-03-02T07:15:00Z", "iso", "", "2026-03-02T07:15:00"),
        ("2026-03-02 07:15", "iso", "Europe/Berlin", "2026-03-02T06:15:00"),
        ("2026-07-02 07:15", "iso", "Europe/Berlin", "2026-07-02T05:15:00"),
        ("2026-03-02T07:15:00", "iso", "-05:30", "2026-03-02T12:45:00"),
        ("20260302T071500", "iso", "UTC", "2026-03-02T07:15:00"),
        (1_772_435_700, "epoch-s", "", "2026-03-02T07:15:00"),
        ("1772435700.5", "epoch-s", "", "2026-03-02T07:15:00.500000"),
        (1_772_435_700_250, "epoch-ms", "", "2026-03-02T07:15:00.250000"),
        (1_772_435_700_000_001, "epoch-us", "", "2026-03-02T07:15:00.000001"),
        ("02.03.2026 07:15", "%d.%m.%Y %H:%M", "UTC", "2026-03-02T07:15:00"),
        ("2026-03-02", "date", "Europe/Berlin", "2026-03-01T23:00:00"),
    ],
)
def test_a_time_is_read_in_its_format_and_zone(value: Any, form: str, zone: str, utc: str) -> None:
    start = moment(value, form, zone)
    assert start.tzinfo is not None
    assert start.astimezone(UTC) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_the_offset_and_the_text_of_the_device_are_kept() -> None:
    found = reading({"hr": 72, "at": "2026-03-02T07:15:00+01:00"}, time="time: {value: at}")
    assert found.start.utcoffset() == timedelta(hours=1)
    assert found.text_of_time == "2026-03-02T07:15:00+01:00"


def test_the_time_of_receipt_is_taken_where_the_mapping_says_so() -> None:
    found = reading({"hr": 72})
    assert (found.start, found.text_of_time) == (RECEIVED, "")


@pytest.mark.parametrize(
    "value", ["yesterday", 5, True, {}, ["a"], "2026-13-01T00:00:00Z", "2026-03-02", "9" * 40]
)
def test_a_time_that_does_not_have_the_format_is_a_problem_that_does_not_show_it(value: Any) -> None:
    found = problem({"hr": 72, "at": value}, time="time: {value: at}")
    assert (found.reason, found.field, found.place) == ("malformed", "time.value", "at")
    assert str(value) not in found.text


@pytest.mark.parametrize("value", [1e300, "1e30", -(10**25), "NaN", "<5"])
def test_an_epoch_that_is_no_time_is_a_problem(value: Any) -> None:
    found = problem({"hr": 72, "at": value}, time="time: {value: at, format: epoch-s}")
    assert found.reason == "malformed"


def test_a_time_without_offset_and_zone_is_never_guessed() -> None:
    found = problem({"hr": 72, "at": "2026-03-02T07:15:00"}, time="time: {value: at}")
    assert "no offset" in found.text


def test_a_reading_without_time_is_a_problem() -> None:
    assert problem({"hr": 72}, time="time: {value: at}").reason == "missing-field"


@pytest.mark.parametrize("part", ["end: to", "duration: {value: minutes, unit: min}"])
def test_a_period_has_an_end_or_a_duration(part: str) -> None:
    payload = {"hr": 72, "at": "2026-03-02T07:00:00Z", "to": "2026-03-02T07:30:00Z", "minutes": 30}
    found = reading(payload, time=f"time: {{value: at, {part}}}")
    assert found.end == found.start + timedelta(minutes=30)


@pytest.mark.parametrize("length", [10**12, "1e29", "x", True])
def test_a_duration_that_is_none_is_a_problem(length: Any) -> None:
    payload = {"hr": 72, "at": "2026-03-02T07:00:00Z", "length": length}
    found = problem(payload, time="time: {value: at, duration: {value: length, unit: min}}")
    assert found.field == "time.duration.value"


def test_a_period_that_ends_before_it_starts_is_a_problem() -> None:
    payload = {"hr": 72, "at": "2026-03-02T07:00:00Z", "to": "2026-03-02T06:59:59Z"}
    assert problem(payload, time="time: {value: at, end: to}").field == "time.end"


def test_the_offset_that_a_device_reports_is_given_and_not_applied() -> None:
    payload = {"hr": 72, "at": "2026-03-02T07:00:00Z", "ahead": 90_500}
    found = reading(payload, time="time: {value: at, clock-offset: {value: ahead, unit: ms}}")
    assert (found.start.minute, found.clock_offset_s) == (0, 90.5)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "+25:00:00"])
def test_a_zone_that_is_none_is_an_error_of_the_file_or_a_problem_of_the_payload(zone: str) -> None:
    with pytest.raises(MappingError, match=r"time\.zone: the time zone is unknown"):
        mapping(time=f"time: {{value: at, zone: '{zone}'}}")
    payload = {"hr": 72, "at": "2026-03-02T07:00:00", "zone": zone}
    assert problem(payload, time="time: {value: at, zone: {from: zone}}").reason == "malformed"


def test_a_format_that_is_none_is_an_error_of_the_file() -> None:
    with pytest.raises(MappingError, match=r"time\.format: must be one of"):
        mapping(time="time: {value: at, format: unix}")
