"""Laws of dates and their comparison."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.matching import dates
from broker.matching.dates import Interval, compare_dates, date_interval
from broker.matching.values import BadValue
from broker.model.search import Comparator

C = Comparator


DAY = 86_400_000_000


SECOND = 1_000_000


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
    low = dates.microseconds(start)
    assert dates.date_interval(text) == Interval(low, low + width)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31"),
        ("2017-01-01T00:59:60+01:00", "2016-12-31"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59"),
    ],
)
def test_a_leap_second_lies_in_its_day(moment: str, day: str) -> None:
    assert compare_dates(Comparator.EQ, date_interval(moment), date_interval(day))
    assert not compare_dates(Comparator.GT, date_interval(moment), date_interval(day))


@pytest.mark.parametrize("text", ["", "24", "2024-13", "2023-02-29", "2024-01-01T25:00", "yesterday", "0000"])
def test_an_invalid_date_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        dates.date_interval(text)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_means_the_same_in_every_zone(moment: datetime, offset: int) -> None:
    low = dates.microseconds(moment)
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset)
    try:
        local = moment + timedelta(minutes=offset)
    except OverflowError:
        return
    text = local.strftime("%H:%M:%S.%f") + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    text = f"{local.year:04}-{local.month:02}-{local.day:02}T{text}"
    assert dates.date_interval(text).low == low


intervals = st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda pair: Interval(pair[0], sum(pair)))


@given(intervals, intervals)
def test_date_comparators_agree_with_each_other(element: Interval, searched: Interval) -> None:
    holds = {each: dates.compare_dates(each, element, searched) for each in Comparator}
    assert holds[C.NE] is not holds[C.EQ]
    assert holds[C.GE] is (holds[C.EQ] or holds[C.GT])
    assert holds[C.LE] is (holds[C.EQ] or holds[C.LT])
    assert not (holds[C.SA] and not holds[C.GT])
    assert not (holds[C.EB] and not holds[C.LT])
    assert not (holds[C.SA] and holds[C.EB])
    assert holds[C.AP] or not holds[C.EQ]


def test_approximate_dates_widen_with_the_gap_to_now() -> None:
    searched, element = Interval(1000, 1001), Interval(1050, 1051)
    assert not dates.compare_dates(C.AP, element, searched)
    assert dates.compare_dates(C.AP, element, searched, now=2000)


def test_an_open_end_of_a_period_is_unbounded() -> None:
    span = dates.date_span({"start": "2024-01-01"})
    assert span is not None
    assert dates.compare_dates(C.GT, span, dates.date_interval("2999"))
    assert not dates.compare_dates(C.EQ, span, dates.date_interval("2024"))


def test_a_timing_spans_its_events_and_bounds() -> None:
    timing = {"event": ["2024-01-05", "2024-01-02"], "repeat": {"boundsPeriod": {"end": "2024-01-09"}}}
    span = dates.date_span(timing)
    assert span is not None
    assert span.high == dates.date_interval("2024-01-09").high
    assert dates.date_span({"repeat": {"frequency": 1}}) is None


texts = st.one_of(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda moment: moment.isoformat()),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda moment: moment.isoformat()[:7]),
    st.integers(1900, 2100).map(str),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 the offset is in the text
        lambda moment: moment.isoformat(timespec="seconds") + "+01:00"
    ),
)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 the offset is in the text
    lambda moment: moment.isoformat(timespec="microseconds") + "Z"
)


@given(texts, texts)
def test_eq_and_ne_are_complementary(element: str, searched: str) -> None:
    spans = dates.date_interval(element), dates.date_interval(searched)
    assert dates.compare_dates(C.EQ, *spans) is not dates.compare_dates(C.NE, *spans)


@given(moments, texts)
def test_a_moment_is_before_within_or_after(element: str, searched: str) -> None:
    spans = dates.date_interval(element), dates.date_interval(searched)
    holds = {each: dates.compare_dates(each, *spans) for each in Comparator}
    assert [holds[C.LT], holds[C.EQ], holds[C.GT]].count(True) == 1
    assert holds[C.GT] is not holds[C.LE]
    assert holds[C.LT] is not holds[C.GE]
    assert holds[C.SA] is holds[C.GT]
    assert holds[C.EB] is holds[C.LT]


@given(texts)
def test_a_date_equals_itself_and_what_lies_in_it(text: str) -> None:
    whole = dates.date_interval(text)
    assert dates.compare_dates(C.EQ, whole, whole)
    inner = Interval(whole.low, whole.low + 1)
    assert dates.compare_dates(C.EQ, inner, whole)
