"""Laws of search values."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.matching import values
from broker.matching.values import BadValue, Interval, Span
from broker.model.search import Comparator

C = Comparator
DAY = 86_400_000_000
SECOND = 1_000_000


@given(st.lists(st.text(), min_size=1))
def test_values_joined_with_escapes_come_back(parts: list[str]) -> None:
    escaped = [part.replace("\\", "\\\\").replace(",", "\\,") for part in parts]
    assert [values.unescape(part) for part in values.split(",".join(escaped), ",")] == parts


@pytest.mark.parametrize(
    ("text", "start", "width"),
    [
        ("2024", datetime(2024, 1, 1, tzinfo=UTC), 366 * DAY),
        ("2024-02", datetime(2024, 2, 1, tzinfo=UTC), 29 * DAY),
        ("2024-12", datetime(2024, 12, 1, tzinfo=UTC), 31 * DAY),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC), DAY),
        ("2024-02-29T10:00", datetime(2024, 2, 29, 10, tzinfo=UTC), 60 * SECOND),
        ("2024-02-29T10:00:00+02:00", datetime(2024, 2, 29, 8, tzinfo=UTC), SECOND),
        ("2024-02-29T10:00:00 02:00", datetime(2024, 2, 29, 8, tzinfo=UTC), SECOND),
        ("2024-02-29T10:00:00.500Z", datetime(2024, 2, 29, 10, 0, 0, 500_000, tzinfo=UTC), 1000),
    ],
)
def test_a_date_stands_for_an_interval_by_its_precision(text: str, start: datetime, width: int) -> None:
    low = values.microseconds(start)
    assert values.date_interval(text) == Interval(low, low + width)


@pytest.mark.parametrize("text", ["", "24", "2024-13", "2023-02-29", "2024-01-01T25:00", "yesterday", "0000"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        values.date_interval(text)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_means_the_same_in_every_zone(moment: datetime, offset: int) -> None:
    low = values.microseconds(moment)
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset)
    try:
        local = moment + timedelta(minutes=offset)
    except OverflowError:
        return
    text = local.strftime("%H:%M:%S.%f") + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    text = f"{local.year:04}-{local.month:02}-{local.day:02}T{text}"
    assert values.date_interval(text).low == low


intervals = st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda one: Interval(one[0], sum(one)))


@given(intervals, intervals)
def test_date_comparators_agree_with_each_other(element: Interval, wanted: Interval) -> None:
    holds = {one: values.compare_dates(one, element, wanted) for one in Comparator}
    assert holds[C.NE] is not holds[C.EQ]
    assert holds[C.GE] is (holds[C.EQ] or holds[C.GT])
    assert holds[C.LE] is (holds[C.EQ] or holds[C.LT])
    assert not (holds[C.SA] and not holds[C.GT])
    assert not (holds[C.EB] and not holds[C.LT])
    assert not (holds[C.SA] and holds[C.EB])
    assert holds[C.AP] or not holds[C.EQ]


def test_approximate_dates_widen_with_the_gap_to_now() -> None:
    wanted, element = Interval(1000, 1001), Interval(1050, 1051)
    assert not values.compare_dates(C.AP, element, wanted)
    assert values.compare_dates(C.AP, element, wanted, now=2000)


def test_a_period_reaches_far_at_an_open_end() -> None:
    span = values.date_span({"start": "2024-01-01"})
    assert span is not None
    assert values.compare_dates(C.GT, span, values.date_interval("2999"))
    assert not values.compare_dates(C.EQ, span, values.date_interval("2024"))


def test_a_timing_spans_its_events_and_bounds() -> None:
    timing = {"event": ["2024-01-05", "2024-01-02"], "repeat": {"boundsPeriod": {"end": "2024-01-09"}}}
    span = values.date_span(timing)
    assert span is not None
    assert span.high == values.date_interval("2024-01-09").high
    assert values.date_span({"repeat": {"frequency": 1}}) is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("100", "99.5", "100.5"), ("100.00", "99.995", "100.005"), ("-5", "-5.5", "-4.5")],
)
def test_a_number_leaves_open_what_its_precision_does(text: str, low: str, high: str) -> None:
    wanted = values.wanted_number(text)
    assert (wanted.low, wanted.high) == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["", "ten", "1e999", "NaN", "Infinity", "1_0", "0x1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        values.wanted_number(text)


@given(st.decimals(-1000, 1000, places=2), st.decimals(-1000, 1000, places=1))
def test_number_comparators_agree_with_each_other(value: Decimal, searched: Decimal) -> None:
    wanted = values.wanted_number(str(searched))
    holds = {one: values.compare_numbers(one, Span(value, value), wanted) for one in Comparator}
    assert holds[C.NE] is not holds[C.EQ]
    assert holds[C.GT] is (value > searched)
    assert holds[C.GE] is (value >= searched)
    assert holds[C.LT] is not holds[C.GE]
    assert holds[C.LE] is not holds[C.GT]


def quantity(value: str, code: str, **more: str) -> dict[str, object]:
    return {"value": Decimal(value), "system": values.UCUM, "code": code, **more}


@pytest.mark.parametrize(
    ("comparator", "element", "wanted", "holds"),
    [
        (C.GE, quantity("37", "Cel"), f"98.6|{values.UCUM}|[degF]", True),
        (C.GT, quantity("37", "Cel"), f"98.6|{values.UCUM}|[degF]", False),
        (C.LE, quantity("98.6", "[degF]"), f"37|{values.UCUM}|Cel", True),
        (C.EQ, quantity("32", "[degF]"), "0||Cel", True),
        (C.EQ, quantity("5", "g"), f"5000|{values.UCUM}|mg", True),
        (C.EQ, quantity("5", "ug"), "0.000000005||kg", True),
        (C.EQ, quantity("72", "{beats}/min"), "72||/min", True),
        (C.GT, quantity("16", "kPa"), f"119|{values.UCUM}|mm[Hg]", True),
        (C.GT, quantity("130", "mm[Hg]"), "120", True),
        (C.GT, quantity("130", "mm[Hg]"), f"120|{values.UCUM}|mg", False),
        (C.EQ, quantity("3", "{score}"), "3||{score}", True),
        (C.EQ, quantity("3", "{score}"), "3||nonsense", False),
        (C.NE, quantity("3", "mg"), "4||mL", False),
        (C.EQ, {"value": 3, "unit": "puffs"}, "3||puffs", True),
        (C.EQ, {"value": 3, "unit": "puffs"}, "3||mg", False),
        (C.EQ, quantity("3", "mg"), "3|http://other|mg", False),
        (C.LT, quantity("5", "mg", comparator="<"), "5||mg", True),
        (C.GE, quantity("5", "mg", comparator="<"), "5||mg", False),
        (C.EQ, {"value": 3, "currency": "EUR"}, "3|urn:iso:std:iso:4217|EUR", True),
        (C.GT, {"low": quantity("1", "mg"), "high": quantity("9", "mg")}, "8||mg", True),
        (C.EQ, {"unit": "mg"}, "8||mg", False),
        (C.GT, {"origin": {"value": 1}, "data": "1 2"}, "0", False),
    ],
)
def test_quantities_compare_in_one_unit_or_not_at_all(
    *, comparator: Comparator, element: dict[str, object], wanted: str, holds: bool
) -> None:
    assert values.compare_quantity(comparator, element, values.wanted_quantity(wanted)) is holds


@given(st.decimals(-200, 2000, places=1))
def test_converting_there_and_back_gives_the_same_number(value: Decimal) -> None:
    there, back = values.conversion("Cel", "[degF]"), values.conversion("[degF]", "Cel")
    assert there is not None
    assert back is not None
    assert abs(back(there(value)) - value) < Decimal("0.0000001")


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert values.fold(values.fold(text)) == values.fold(text)


@pytest.mark.parametrize(
    ("text", "system", "code"), [("a", None, "a"), ("s|a", "s", "a"), ("|a", "", "a"), ("s|", "s", None)]
)
def test_a_token_is_a_code_and_perhaps_a_system(text: str, system: str | None, code: str | None) -> None:
    assert values.wanted_token(text) == (system, code)


@pytest.mark.parametrize("text", ["|", "", "a|b|c"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        values.wanted_token(text)


BASES = frozenset({"http://broker.example/r4", "http://broker.example/r5/"})


@pytest.mark.parametrize(
    ("text", "targets", "reference"),
    [
        ("Patient/1", (), "Patient/1"),
        ("1", ("Patient",), "Patient/1"),
        ("http://broker.example/r4/Patient/1", ("Patient",), "Patient/1"),
        ("http://broker.example/r5/Patient/1/_history/3", (), "Patient/1"),
        ("http://other.example/Patient/1", ("Patient",), "http://other.example/Patient/1"),
    ],
)
def test_one_resource_has_one_reference(text: str, targets: tuple[str, ...], reference: str) -> None:
    assert values.wanted_reference(text, targets, BASES) == reference


@pytest.mark.parametrize("text", ["1", "Encounter/1", "", "#a", "Patient/", "Patient/1/2"])
def test_an_unclear_reference_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        values.wanted_reference(text, ("Patient", "Device"), BASES)
