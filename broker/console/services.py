"""The services that the pages use, one attribute for each. `app/console.py` fills them in."""

from dataclasses import dataclass

from broker.services.application import ApplicationServices
from broker.services.overview import OverviewService
from broker.services.tour import TourStage


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """Each page class gets only the services it uses."""

    application: ApplicationServices
    overview: OverviewService
    tour: TourStage | None = None
