"""Rates, lags and latencies of the last hour from the reports of several processes."""

from typing import Any

import pytest

from broker.model.activity import ActivitySample, Totals, quantile
from broker.services.activity_history import STEP_MS, History, Hour, ProcessReport
from broker.services.overview import day_of
from broker.store.activity import RecordedSample

INF = float("inf")


@pytest.mark.parametrize(
    ("latencies", "part", "expected"),
    [
        ({}, 0.5, None),
        ({0.01: 0}, 0.5, None),
        ({0.01: 10}, 0.5, 0.005),
        ({0.01: 50, 0.1: 50}, 0.5, 0.01),
        ({0.01: 50, 0.1: 50}, 0.75, 0.055),
        ({0.01: 99, 10.0: 1}, 0.99, 0.01),
        ({0.01: 1, INF: 9}, 0.99, 0.01),
        ({INF: 9}, 0.5, 0.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    latencies: dict[float, int], part: float, expected: float | None
) -> None:
    found = quantile(latencies, part)
    assert found == (None if expected is None else pytest.approx(expected))


def sample(
    at_s: float, process: str = "a:1", *, accepted: int | None = None, **members: Any
) -> RecordedSample:
    totals = None if accepted is None else Totals(accepted, 2 * accepted, 1_000)
    return RecordedSample(round(at_s * 1000), ActivitySample(process, totals=totals, **members))


def hour_of(*samples: RecordedSample) -> Hour:
    hour = Hour()
    for each in samples:
        hour.add(each)
    return hour


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    hour = hour_of(sample(0, "a:1"), sample(40, "b:2"), sample(70, "c:3"))
    hour.forget(before_ms=45_000)
    assert [point.at_ms for point in hour.points()] == [30_000, 60_000]
    assert [report.process for report in hour.processes(now_ms=71_000)] == ["c:3"]


def test_rates_are_differences_of_totals_whoever_reported_them() -> None:
    hour = hour_of(
        sample(0, accepted=100),
        sample(20, "b:2", accepted=120),
        sample(30),
        sample(50, "b:2", accepted=180),
        sample(80, accepted=10),  # the store went back
        sample(95),
    )
    found = list(hour.points())
    assert [point.at_ms // STEP_MS for point in found] == [0, 1, 2, 3]
    assert [(point.accepted, point.delivered) for point in found] == [
        (1.0, 2.0),
        (2.0, 4.0),
        (0.0, 0.0),
        (None, None),
    ]


def test_latencies_are_added_and_the_longest_lag_counts() -> None:
    [point] = hour_of(
        sample(1, latencies={"0.01": 50}, lags_s={"matcher": 0.5}),
        sample(2, "b:2", latencies={"0.01": 49, "10.0": 1}, lags_s={"matcher": 0.1, "dispatcher": 2.0}),
    ).points()
    assert point.lags_s == {"matcher": 0.5, "dispatcher": 2.0}
    assert point.p50_s == pytest.approx(0.01 * 50 / 99)
    assert point.p99_s == pytest.approx(0.01)


def test_a_process_that_reports_no_more_is_not_shown() -> None:
    hour = hour_of(
        sample(0, "gone:1"),
        sample(40, "b:2", problems={"store": "does not answer"}),
        sample(50, "b:2", roles=["match"]),
        sample(50, "a:1", problems={"matcher": "restarted"}),
    )
    assert hour.processes(now_ms=60_000) == [
        ProcessReport("a:1", (), {"matcher": "restarted"}),
        ProcessReport("b:2", ["match"], {}),
    ]


def test_a_day_costs_what_the_measured_figures_say() -> None:
    history = History(list(hour_of(sample(0, accepted=0), sample(20, accepted=200)).points()))
    day = day_of(history, has_search=False, has_audit=False)
    assert day is not None
    assert (day.changes, day.events) == (864_000, 1_728_000)
    per_change = 260 + 132 + 23 + 2 * 129
    assert day.bytes == 864_000 * per_change
    with_more = day_of(history, has_search=True, has_audit=True)
    assert with_more is not None
    assert with_more.bytes > day.bytes
    assert day_of(History(), has_search=True, has_audit=True) is None
