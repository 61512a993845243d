"""The services that the pages use, one attribute for each. `app/console_pages.py` fills them in."""

from dataclasses import dataclass

from broker.services.application import ApplicationServices
from broker.services.client_details import ClientDetailsService
from broker.services.clients import ClientService
from broker.services.conformance import ConformanceService
from broker.services.dead_letter_payloads import DeadLetterPayloads
from broker.services.dead_letter_runs import DeadLetterRunService
from broker.services.mappings import MappingService
from broker.services.overview import OverviewService
from broker.services.own_keys import OwnKeyService
from broker.services.reading_trial import ReadingTrialService
from broker.services.tour import TourStage


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """Each page class gets only the services it uses."""

    application: ApplicationServices
    overview: OverviewService
    dead_letter_payloads: DeadLetterPayloads
    dead_letter_runs: DeadLetterRunService
    reading_trial: ReadingTrialService
    mappings: MappingService
    conformance: ConformanceService
    clients: ClientService
    client_details: ClientDetailsService
    own_keys: OwnKeyService
    tour: TourStage | None = None
