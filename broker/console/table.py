"""The table of contents of the console: every page and action, who answers, and what a principal needs.

The access check, the navigation, the audit trail and the tests read these rows: none is without `access`.
"""

from collections.abc import Sequence

from broker.console.page import Exempt, Page
from broker.console.pages.home import HomePages
from broker.console.pages.overview import OverviewPages
from broker.console.services import ConsoleServices
from broker.model.access import Access
from broker.model.principal import PrincipalRole

OPERATOR = Access(role=PrincipalRole.OPERATOR)
_FIGURES = "figures of the whole broker, no patient data"


def pages(services: ConsoleServices) -> Sequence[Page]:
    """The rows, in the order of the navigation."""
    overview = OverviewPages(services.overview)
    rows = (
        Page("GET", "/overview", overview.show, OPERATOR, Exempt(_FIGURES), "Overview"),
        Page("GET", "/overview/live", overview.follow, OPERATOR, Exempt(_FIGURES)),
    )
    home = HomePages([page for page in rows if page.title])
    return (Page("GET", "/", home.show, Access.AUTHENTICATED, Exempt("shows nothing")), *rows)
