"""What the overview says about parts that do not work, and the numbers of its charts."""

import json
from typing import Any, cast

from broker.console.pages.overview import charts, problems
from broker.services.activity_history import History, Point, ProcessReport
from broker.services.health import HealthReport
from broker.services.overview import Overview

_NO_COUNTS = cast("Any", None)


def test_parts_that_do_not_work_are_named_with_their_process_and_warnings_too() -> None:
    health = HealthReport({"store": "ok", "matcher": "restarted"}, {"disk": "is low"})
    own = ProcessReport("here:1", (), {"matcher": "restarted"})
    others = [own, ProcessReport("a:1", (), {"dispatcher": "failed"}), ProcessReport("b:2", (), {})]
    overview = Overview("here:1", health, History((), others), _NO_COUNTS, None)
    assert list(problems(overview)) == [
        ("this process", "matcher", "restarted"),
        ("this process", "disk", "is low"),
        ("a:1", "dispatcher", "failed"),
    ]


def test_a_chart_has_the_times_and_a_gap_where_nothing_was_reported() -> None:
    points = [Point(30_000, 1.5, None, {"matcher": 0.2}, None, 0.3), Point(60_000, None, 2.0, {}, 0.1, None)]
    found = {chart.id: (list(chart.lines), json.loads(chart.points)) for chart in charts(History(points))}
    assert found == {
        "rates": (["in", "out"], [[30, 60], [1.5, None], [None, 2.0]]),
        "latency": (["p50", "p99"], [[30, 60], [None, 0.1], [0.3, None]]),
        "lags": (["matcher", "dispatcher"], [[30, 60], [0.2, None], [None, None]]),
    }
