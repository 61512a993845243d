"""The overview: figures of the whole broker, live with JavaScript."""

from broker.console.page import Answer, Events, PageRequest, View
from broker.services.overview import OverviewService


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
        return View(template, {"overview": await self._overview.read()})
