"""The overview: figures and charts of the whole broker, live with JavaScript."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.console.page import Answer, Events, PageRequest, View
from broker.services.activity_history import History, Point
from broker.services.overview import Overview, OverviewService

_ROW_STEPS = 10
"""The table of the last hour has a row for so many points: five minutes."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over the last hour. `points` is JSON: the times (s), then the values of each line."""

    id: str
    title: str
    unit: str
    lines: Sequence[str]
    points: str


class OverviewPages:
    """The rows for `/overview`."""

    def __init__(self, overview: OverviewService) -> None:
        self._overview = overview

    async def show(self, _request: PageRequest) -> Answer:
        return await self._view("overview.html")

    async def follow(self, _request: PageRequest) -> Answer:
        """The figures again and again."""
        return Events(lambda: self._view("overview_figures.html"))

    async def _view(self, template: str) -> View:
        overview = await self._overview.read()
        points = overview.history.points
        return View(
            template,
            {
                "overview": overview,
                "now": points[-1] if points else None,
                "charts": charts(overview.history),
                "rows": points[:: -1 * _ROW_STEPS],
                "problems": problems(overview),
            },
        )


def problems(overview: Overview) -> Sequence[tuple[str, str, str]]:
    """Process, part and what is wrong with it, of this process first."""
    own = [("this process", name, text) for name, text in overview.health.parts.items() if text != "ok"]
    own += [("this process", name, text) for name, text in overview.health.warnings.items()]
    others = [
        (report.process, name, text) for report in overview.others for name, text in report.problems.items()
    ]
    return own + others


def charts(history: History) -> Sequence[Chart]:
    """The three charts, with the same times."""
    return (
        _chart(
            history,
            "rates",
            "Changes in and events out",
            "a second",
            {"in": lambda point: point.accepted, "out": lambda point: point.delivered},
        ),
        _chart(
            history,
            "latency",
            "From acceptance to delivery",
            "seconds",
            {"p50": lambda point: point.p50_s, "p99": lambda point: point.p99_s},
        ),
        _chart(
            history,
            "lags",
            "How far the workers are behind",
            "seconds",
            {
                "matcher": lambda point: point.lags_s.get("matcher"),
                "dispatcher": lambda point: point.lags_s.get("dispatcher"),
            },
        ),
    )


def _chart(
    history: History,
    chart_id: str,
    title: str,
    unit: str,
    lines: dict[str, Callable[[Point], float | None]],
) -> Chart:
    times = [point.at_ms // 1000 for point in history.points]
    values = [[read(point) for point in history.points] for read in lines.values()]
    return Chart(chart_id, title, unit, list(lines), json.dumps([times, *values]))
