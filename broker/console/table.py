"""The table of contents of the console: every page and action, who answers, and what a principal needs.

The access check, the navigation, the audit trail and the tests read these rows: none is without `access`.
"""

from collections.abc import Sequence

from broker.console.page import Audited, Exempt, Page
from broker.console.pages.attempts import AttemptPages
from broker.console.pages.audit import AuditPages
from broker.console.pages.clients import ClientPages
from broker.console.pages.dead_letters import DeadLetterPages
from broker.console.pages.explanations import ExplanationPages
from broker.console.pages.home import HomePages
from broker.console.pages.overview import OverviewPages
from broker.console.pages.readings import ReadingPages
from broker.console.pages.reports import ReportPages
from broker.console.pages.subscription_actions import SubscriptionActionPages
from broker.console.pages.subscriptions import SubscriptionPages
from broker.console.pages.topics import TopicPages
from broker.console.pages.tour import TourPages
from broker.console.services import ConsoleServices
from broker.model.access import Access
from broker.model.audit import AuditAction
from broker.model.principal import PrincipalRole

OPERATOR = Access(role=PrincipalRole.OPERATOR)
ADMIN = Access(role=PrincipalRole.ADMIN)
LIST, SUBSCRIPTION, CHANGE = (Access(scope=f"system/Subscription.{letter}") for letter in "sru")
AUDITOR = Access(role=PrincipalRole.AUDITOR)
READER = Access(scope="system/Observation.r")
"""The conformance report of another type needs the scope of that type too."""
TOPIC, TOPICS = Access(scope="system/SubscriptionTopic.r"), Access(scope="system/SubscriptionTopic.s")
"""As the rows of the API that do the same (`api/interactions.py`)."""
_READ, _SEARCH = Audited(AuditAction.READ), Audited(AuditAction.SEARCH)
_OPERATION, _UPDATE = Audited(AuditAction.OPERATION), Audited(AuditAction.UPDATE)
_TOPICS = "topics hold no patient data; changes of topics are audited"
_FIGURES = "figures of the whole broker, no patient data"
_DESCRIBES = "describes the broker, holds no patient data"
_CLIENTS = "registrations hold no patient data; their changes are audited"


def pages(services: ConsoleServices) -> Sequence[Page]:
    """The rows, in the order of the navigation."""
    application = services.application
    overview = OverviewPages(services.overview)
    subscriptions = SubscriptionPages(
        application.listing,
        application.delivery_control,
        application.events,
        application.attempts,
        application.topics,
    )
    actions = SubscriptionActionPages(
        application.subscriptions,
        application.delivery_control,
        application.signing_secrets,
        application.events,
    )
    attempts = AttemptPages(application.attempts)
    explanations = ExplanationPages(application.subscriptions, application.explain)
    topics = TopicPages(application.topics, application.listing, application.topic_trials)
    rows: tuple[Page, ...] = (
        Page("GET", "/overview", overview.show, OPERATOR, Exempt(_FIGURES), "Overview"),
        Page("GET", "/overview/live", overview.follow, OPERATOR, Exempt(_FIGURES)),
        Page("GET", "/subscriptions", subscriptions.search, LIST, _SEARCH, "Subscriptions"),
        Page("GET", "/subscriptions/{id}", subscriptions.show, SUBSCRIPTION, _READ),
        Page("GET", "/subscriptions/{id}/live", subscriptions.follow, SUBSCRIPTION, _READ),
        Page("GET", "/subscriptions/{id}/events", subscriptions.events, SUBSCRIPTION, _OPERATION),
        Page("GET", "/subscriptions/{id}/attempts", attempts.search, SUBSCRIPTION, _OPERATION),
        Page("GET", "/subscriptions/{id}/attempts/{attempt}", attempts.show, SUBSCRIPTION, _OPERATION),
        Page("GET", "/subscriptions/{id}/explain", explanations.explain_stored, SUBSCRIPTION, _OPERATION),
        Page("POST", "/subscriptions/{id}/explain", explanations.explain_pasted, SUBSCRIPTION, _OPERATION),
        Page("GET", "/subscriptions/{id}/confirm/{action}", actions.confirm, CHANGE, _READ),
        Page("POST", "/subscriptions/{id}/pause", actions.pause, CHANGE, _OPERATION),
        Page("POST", "/subscriptions/{id}/activate", actions.activate, CHANGE, _OPERATION),
        Page("POST", "/subscriptions/{id}/retry", actions.retry, CHANGE, _OPERATION),
        Page("POST", "/subscriptions/{id}/send-test", actions.send_test, CHANGE, _OPERATION),
        Page("POST", "/subscriptions/{id}/rotate-secret", actions.rotate_secret, CHANGE, _OPERATION),
        Page("POST", "/subscriptions/{id}/resend", actions.resend, CHANGE, _OPERATION),
        Page("GET", "/topics", topics.search, TOPICS, Exempt(_TOPICS), "Topics"),
        Page("GET", "/topics/{id}", topics.show, TOPIC, _READ),
        Page("GET", "/new-topic", topics.edit, ADMIN, Exempt(_TOPICS)),
        Page("POST", "/new-topic/try", topics.try_out, ADMIN, _OPERATION),
        Page("POST", "/new-topic", topics.save, ADMIN, _UPDATE),
        *_dead_letters(services),
        *_readings(services),
        *_clients(services),
        *_audit(services),
        *_reports(services),
    )
    if services.tour is not None:
        rows = (*rows, *_tour(TourPages(services.tour)))
    home = HomePages([page for page in rows if page.title])
    return (Page("GET", "/", home.show, Access.AUTHENTICATED, Exempt("shows nothing")), *rows)


def _tour(tour: TourPages) -> Sequence[Page]:
    """The rows of a demo."""
    shown = Exempt("simulated data of the demo")
    return (
        Page("GET", "/tour", tour.resume, OPERATOR, shown, "Guided tour"),
        Page("GET", "/tour/{step}", tour.show, OPERATOR, shown),
        Page("POST", "/tour/{step}", tour.perform, OPERATOR, _OPERATION),
    )


def _dead_letters(services: ConsoleServices) -> Sequence[Page]:
    pages = DeadLetterPages(
        services.application.dead_letters, services.dead_letter_payloads, services.dead_letter_runs
    )
    one = "/dead-letters/{id}"
    return (
        Page("GET", "/dead-letters", pages.list, OPERATOR, _OPERATION, "Dead letters"),
        Page("GET", "/quarantined-readings", pages.readings, OPERATOR, _OPERATION, "Quarantined readings"),
        Page("GET", "/dead-letters/run/live", pages.follow, OPERATOR, Exempt("counts, no patient data")),
        Page("POST", "/dead-letters/run", pages.start, OPERATOR, _OPERATION),
        Page("POST", "/dead-letters/run/stop", pages.stop, OPERATOR, _OPERATION),
        Page("POST", "/dead-letters/redrive", pages.redrive, OPERATOR, Audited(AuditAction.REDRIVE)),
        Page("POST", "/dead-letters/discard/confirm", pages.confirm_discard, OPERATOR, _OPERATION),
        Page("POST", "/dead-letters/discard", pages.discard, OPERATOR, Audited(AuditAction.DISCARD)),
        Page("GET", one, pages.show, OPERATOR, _OPERATION),
        Page("GET", f"{one}/payload", pages.payload, OPERATOR, _READ),
    )


def _readings(services: ConsoleServices) -> Sequence[Page]:
    pages = ReadingPages(services.reading_trial, services.mappings)
    return (
        Page("GET", "/readings", pages.show, READER, Exempt(_DESCRIBES), "Try a reading"),
        Page("POST", "/readings/try", pages.try_payload, READER, _OPERATION),
    )


def _clients(services: ConsoleServices) -> Sequence[Page]:
    pages = ClientPages(services.clients, services.client_details, services.own_keys)
    one = "/clients/{id:path}"
    return (
        Page("GET", "/clients", pages.list, ADMIN, Exempt(_CLIENTS), "Clients and keys"),
        Page("POST", f"{one}/access", pages.set_access, ADMIN, Audited(AuditAction.ADMINISTER)),
        Page("POST", f"{one}/keys/revoke", pages.revoke_key, ADMIN, Audited(AuditAction.ADMINISTER)),
        Page("GET", one, pages.show, ADMIN, Exempt(_CLIENTS)),
    )


def _audit(services: ConsoleServices) -> Sequence[Page]:
    pages = AuditPages(services.application.audit)
    return (
        Page("GET", "/audit", pages.search, AUDITOR, _SEARCH, "Audit trail"),
        Page("GET", "/audit/verify", pages.verify, AUDITOR, _OPERATION),
    )


def _reports(services: ConsoleServices) -> Sequence[Page]:
    pages = ReportPages(services.conformance, services.mappings)
    conformance, document = "/conformance", "/mapping-document"
    return (
        Page("GET", conformance, pages.conformance, READER, _OPERATION, "Conformance report"),
        Page("GET", f"{conformance}/download", pages.download_conformance, READER, _OPERATION),
        Page("GET", document, pages.mapping_document, READER, Exempt(_DESCRIBES), "Mapping document"),
        Page("GET", f"{document}/download", pages.download_mapping_document, READER, Exempt(_DESCRIBES)),
    )
