"""Where a login leads: to the first page that the principal may use."""

from collections.abc import Sequence

from broker.console.page import Answer, Page, PageRequest, SeeOther, View


class HomePages:
    """The row for `/`. `navigation` are the rows with a title."""

    def __init__(self, navigation: Sequence[Page]) -> None:
        self._navigation = navigation

    async def show(self, request: PageRequest) -> Answer:
        for page in self._navigation:
            if page.access.is_met_by(request.principal):
                return SeeOther(page.path)
        return View("no_rights.html")
