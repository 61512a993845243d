"""Builds the services that the pages of the console use."""

from broker.app.dead_letters import build_dead_letter_runs
from broker.app.flow import process_name
from broker.app.parts import Parts
from broker.app.readings import Readings
from broker.app.trials import build_mappings, build_reading_trial
from broker.console.services import ConsoleServices
from broker.ingest.intake import Intake
from broker.security.broker_keys import BrokerKeys
from broker.services.activity_history import ActivityHistory
from broker.services.application import ApplicationServices
from broker.services.client_details import ClientDetailsService, ClientQuota
from broker.services.conformance import ConformanceService
from broker.services.dead_letter_payloads import DeadLetterPayloads
from broker.services.health import Health
from broker.services.overview import OverviewService
from broker.services.own_keys import OwnKeyService
from broker.store.activity import Activity


def build_console_services(
    parts: Parts, application: ApplicationServices, intake: Intake, readings: Readings, health: Health
) -> ConsoleServices:
    settings = parts.settings
    quota = ClientQuota(settings.max_subscriptions, settings.request_rate, settings.max_connections)
    return ConsoleServices(
        application=application,
        overview=_overview(parts, health),
        dead_letter_payloads=DeadLetterPayloads(application.dead_letters, application.changes),
        dead_letter_runs=build_dead_letter_runs(parts, readings),
        reading_trial=build_reading_trial(parts, application, intake, readings),
        mappings=build_mappings(readings),
        conformance=ConformanceService(parts.change_log, parts.profiles),
        clients=parts.clients,
        client_details=ClientDetailsService(parts.clients, parts.subscriptions, quota, parts.clock),
        own_keys=OwnKeyService(BrokerKeys(settings.keys_dir)),
        tour=parts.tour,
    )


def _overview(parts: Parts, health: Health) -> OverviewService:
    settings = parts.settings
    return OverviewService(
        process_name(),
        health,
        ActivityHistory(Activity(parts.store), parts.clock),
        has_search=bool(settings.search_indexes),
        has_audit=settings.audit,
    )
