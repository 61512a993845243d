"""The table of contents of a FHIR base: every interaction and operation, who answers, and what a principal
needs.

The first row that fits is taken. Tests walk the same rows: none is without `access`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.api import smart_configuration
from broker.api.adoption import AdoptionHandlers
from broker.api.attempts import AttemptHandlers
from broker.api.audit_events import AuditEventHandlers
from broker.api.auditing import Auditor
from broker.api.bulk_export import BulkExportHandlers
from broker.api.bundles import BundleHandlers
from broker.api.business_events import BusinessEventHandlers
from broker.api.dead_letters import DeadLetterHandlers
from broker.api.delivery_control import DeliveryControlHandlers
from broker.api.device_context import DeviceContextHandlers
from broker.api.diagnosis import DiagnosisHandlers
from broker.api.dispatch import Interaction, InteractionTable
from broker.api.event_stream import EventStreamHandlers
from broker.api.exchange import FhirRequest
from broker.api.history import HistoryHandlers
from broker.api.last_observations import LastObservationHandlers
from broker.api.metadata import MetadataHandlers
from broker.api.preconditions import AS_CREATE, BY_CRITERIA, BY_ID, NOTHING, has_criteria
from broker.api.resources import ResourceHandlers
from broker.api.signing_secrets import SigningSecretHandlers
from broker.api.smart_configuration import SmartConfigurationHandlers
from broker.api.stored_searches import ResourceSearchHandlers
from broker.api.subscription_operations import SubscriptionOperationHandlers
from broker.api.subscriptions import SubscriptionHandlers
from broker.api.topics import TopicHandlers, carries_topic, is_topic_search
from broker.api.validation import ValidationHandlers
from broker.api.websocket_tokens import WebsocketTokenHandlers
from broker.model.access import Access
from broker.model.principal import PrincipalRole

ADMIN, OPERATOR = Access(role=PrincipalRole.ADMIN), Access(role=PrincipalRole.OPERATOR)
CREATE, UPDATE, DELETE = (Access(scope=f"system/{{type}}.{letter}") for letter in "cud")
READ_RESTRICTED, SEARCH = (Access(scope=f"system/{{type}}.{letter}", is_restrictable=True) for letter in "rs")
"""`ChangeService` and `ResourceSearchService` apply the restrictions of the scopes to what they show."""
DEVICE = Access(scope="system/Device.r", is_restrictable=True)
"""`DeviceContextService` leaves out what the scopes for the other types do not allow."""
REGISTER, SUBSCRIPTION, REPLACE, REMOVE, LIST = (
    Access(scope=f"system/Subscription.{letter}") for letter in "cruds"
)
TOPIC, TOPICS = Access(scope="system/SubscriptionTopic.r"), Access(scope="system/SubscriptionTopic.s")
DEFINITION = Access(scope="system/OperationDefinition.r")
AUDITOR = Access(role=PrincipalRole.AUDITOR)
ADD_AUDIT, CHANGE_AUDIT, REMOVE_AUDIT = (Access(scope=f"system/AuditEvent.{letter}") for letter in "cud")
PER_ENTRY = Access.AUTHENTICATED
"""A Bundle needs no scope itself: each of its entries passes the access check of its own row."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """One attribute for each group of rows, in the order of the table."""

    metadata: MetadataHandlers
    smart_configuration: SmartConfigurationHandlers
    audit: AuditEventHandlers
    business_events: BusinessEventHandlers
    dead_letters: DeadLetterHandlers
    subscriptions: SubscriptionHandlers
    operations: SubscriptionOperationHandlers
    attempts: AttemptHandlers
    delivery: DeliveryControlHandlers
    signing: SigningSecretHandlers
    adoption: AdoptionHandlers
    tokens: WebsocketTokenHandlers
    diagnosis: DiagnosisHandlers
    event_stream: EventStreamHandlers
    topics: TopicHandlers
    contexts: DeviceContextHandlers
    validation: ValidationHandlers
    resources: ResourceHandlers
    histories: HistoryHandlers
    searches: ResourceSearchHandlers
    exports: BulkExportHandlers
    last_observations: LastObservationHandlers
    max_entries: int


def interaction_table(handlers: Handlers, auditor: Auditor | None = None) -> InteractionTable:
    """The table with its handlers. `auditor` records what passes it."""

    def build(table: InteractionTable) -> Sequence[Interaction]:
        return _rows(handlers, BundleHandlers(table, handlers.resources, handlers.max_entries))

    return InteractionTable(build, auditor)


def _rows(handlers: Handlers, bundles: BundleHandlers) -> Sequence[Interaction]:
    h, metadata, topics, resources = handlers, handlers.metadata, handlers.topics, handlers.resources
    subscriptions, operations, tokens = handlers.subscriptions, handlers.operations, handlers.tokens
    carries, names, searches = carries_topic, topics.names_topic, is_topic_search
    search, is_searched = h.searches.search, h.searches.is_searched
    audit, histories, exports = handlers.audit, handlers.histories, handlers.exports
    event_type, own = h.business_events.focus_type, metadata.is_own_operation
    return (
        Interaction("POST", "", bundles.receive, PER_ENTRY, honours=NOTHING),
        Interaction("GET", "metadata", metadata.read, Access.PUBLIC),
        Interaction("GET", smart_configuration.PATH, h.smart_configuration.read, Access.PUBLIC),
        Interaction("POST", "$business-event", h.business_events.report, UPDATE, type_of=event_type),
        Interaction("GET", "$dead-letters", h.dead_letters.list, OPERATOR),
        Interaction("POST", "$dead-letters", h.dead_letters.list, OPERATOR),
        Interaction("POST", "$redrive-dead-letters", h.dead_letters.redrive, OPERATOR),
        Interaction("POST", "$discard-dead-letters", h.dead_letters.discard, OPERATOR),
        Interaction("GET", "$export", exports.start, Access.AUTHENTICATED),
        Interaction("POST", "$export", exports.start, Access.AUTHENTICATED),
        Interaction("GET", "_export/{id}", exports.status, Access.AUTHENTICATED),
        Interaction("DELETE", "_export/{id}", exports.cancel, Access.AUTHENTICATED),
        Interaction("GET", "_export/{id}/{file}", exports.read, Access.AUTHENTICATED),
        Interaction("POST", "Subscription", subscriptions.create, REGISTER, honours=AS_CREATE),
        Interaction("GET", "Subscription", subscriptions.search, LIST),
        Interaction("GET", "Subscription/_search", subscriptions.search, LIST),
        Interaction("POST", "Subscription/_search", subscriptions.search, LIST),
        Interaction("GET", "Subscription/$status", operations.status_of_many, LIST),
        Interaction("POST", "Subscription/$status", operations.status_of_many, LIST),
        Interaction("GET", "Subscription/$get-ws-binding-token", tokens.issue_for_many, SUBSCRIPTION),
        Interaction("POST", "Subscription/$get-ws-binding-token", tokens.issue_for_many, SUBSCRIPTION),
        Interaction("POST", "Subscription/$dry-run", h.diagnosis.dry_run, REGISTER),
        Interaction("GET", "Subscription/{id}", subscriptions.read, SUBSCRIPTION),
        Interaction("PUT", "Subscription/{id}", subscriptions.update, REPLACE, honours=BY_ID),
        Interaction("PATCH", "Subscription/{id}", subscriptions.patch, REPLACE, honours=BY_ID),
        Interaction("DELETE", "Subscription/{id}", subscriptions.delete, REMOVE, honours=BY_ID),
        Interaction(
            "PUT", "Subscription", subscriptions.update_match, REPLACE, only=has_criteria, honours=BY_CRITERIA
        ),
        Interaction(
            "PATCH",
            "Subscription",
            subscriptions.patch_match,
            REPLACE,
            only=has_criteria,
            honours=BY_CRITERIA,
        ),
        Interaction(
            "DELETE",
            "Subscription",
            subscriptions.delete_match,
            REMOVE,
            only=has_criteria,
            honours=BY_CRITERIA,
        ),
        Interaction("GET", "Subscription/{id}/_history/{version}", subscriptions.read_version, SUBSCRIPTION),
        Interaction("GET", "Subscription/{id}/$status", operations.status, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$status", operations.status, SUBSCRIPTION),
        Interaction("GET", "Subscription/{id}/$events", operations.events, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$events", operations.events, SUBSCRIPTION),
        Interaction("GET", "Subscription/{id}/$get-ws-binding-token", tokens.issue, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$get-ws-binding-token", tokens.issue, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$resend", operations.resend, REPLACE),
        Interaction("GET", "Subscription/{id}/$attempts", h.attempts.list, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$attempts", h.attempts.list, SUBSCRIPTION),
        Interaction("GET", "Subscription/{id}/$delivery", h.delivery.report, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$delivery", h.delivery.report, SUBSCRIPTION),
        Interaction("POST", "Subscription/{id}/$retry", h.delivery.retry, REPLACE),
        Interaction("POST", "Subscription/{id}/$send-test", h.delivery.send_test, REPLACE),
        Interaction("POST", "Subscription/{id}/$rotate-secret", h.signing.rotate, REPLACE),
        Interaction("POST", "Subscription/{id}/$adopt", h.adoption.adopt, ADMIN),
        Interaction("POST", "Subscription/{id}/$explain", h.diagnosis.explain, SUBSCRIPTION),
        Interaction("GET", "Subscription/{id}/$stream", h.event_stream.stream, SUBSCRIPTION),
        Interaction("GET", "SubscriptionTopic", topics.search, TOPICS),
        Interaction("GET", "SubscriptionTopic/_search", topics.search, TOPICS),
        Interaction("POST", "SubscriptionTopic/_search", topics.search, TOPICS),
        Interaction("GET", "SubscriptionTopic/{id}", topics.read, TOPIC),
        Interaction("POST", "SubscriptionTopic/$try", topics.try_out, ADMIN),
        Interaction("POST", "SubscriptionTopic", topics.create, ADMIN, honours=AS_CREATE),
        Interaction("PUT", "SubscriptionTopic/{id}", topics.update, ADMIN, honours=BY_ID),
        Interaction("PATCH", "SubscriptionTopic/{id}", topics.patch, ADMIN, honours=BY_ID),
        Interaction("DELETE", "SubscriptionTopic/{id}", topics.delete, ADMIN, honours=BY_ID),
        Interaction("PUT", "SubscriptionTopic", topics.refuse_conditional, ADMIN, is_refusal=True),
        Interaction("PATCH", "SubscriptionTopic", topics.refuse_conditional, ADMIN, is_refusal=True),
        Interaction("DELETE", "SubscriptionTopic", topics.refuse_conditional, ADMIN, is_refusal=True),
        Interaction("GET", "Basic", topics.search, TOPICS, only=searches),
        Interaction("GET", "Basic/_search", topics.search, TOPICS, only=searches),
        Interaction("POST", "Basic/_search", topics.search, TOPICS, only=searches),
        Interaction("GET", "Basic/{id}", topics.read, TOPIC, only=names),
        Interaction(
            "GET", "Basic/{id}", topics.or_deleted(resources.read), READ_RESTRICTED, type_of=lambda _: "Basic"
        ),
        Interaction("POST", "Basic/$try", topics.try_out, ADMIN),
        Interaction("POST", "Basic", topics.create, ADMIN, only=carries, honours=AS_CREATE),
        Interaction("PUT", "Basic/{id}", topics.update, ADMIN, only=carries, honours=BY_ID),
        Interaction("PATCH", "Basic/{id}", topics.patch, ADMIN, only=names, honours=BY_ID),
        Interaction("DELETE", "Basic/{id}", topics.delete, ADMIN, only=names, honours=BY_ID),
        Interaction("PUT", "Basic", topics.refuse_conditional, ADMIN, only=carries, is_refusal=True),
        Interaction("GET", "OperationDefinition", metadata.search_operations, DEFINITION),
        Interaction("GET", "OperationDefinition/_search", metadata.search_operations, DEFINITION),
        Interaction("POST", "OperationDefinition/_search", metadata.search_operations, DEFINITION),
        Interaction("GET", "OperationDefinition/{id}", metadata.read_operation, DEFINITION, only=own),
        Interaction("GET", "Device/{id}/$context", h.contexts.read, DEVICE),
        Interaction("POST", "Device/{id}/$context", h.contexts.read, DEVICE),
        Interaction("GET", "AuditEvent", audit.search, AUDITOR),
        Interaction("GET", "AuditEvent/_search", audit.search, AUDITOR),
        Interaction("POST", "AuditEvent/_search", audit.search, AUDITOR),
        Interaction("GET", "AuditEvent/$export-trail", audit.export, AUDITOR),
        Interaction("POST", "AuditEvent/$export-trail", audit.export, AUDITOR),
        Interaction("GET", "AuditEvent/$verify-trail", audit.verify, AUDITOR),
        Interaction("POST", "AuditEvent/$verify-trail", audit.verify, AUDITOR),
        Interaction("GET", "AuditEvent/{id}", audit.read, AUDITOR),
        Interaction("GET", "AuditEvent/{id}/_history/{version}", audit.read_version, AUDITOR),
        Interaction("POST", "AuditEvent", audit.refuse_write, ADD_AUDIT, is_refusal=True),
        Interaction("PUT", "AuditEvent", audit.refuse_write, CHANGE_AUDIT, is_refusal=True),
        Interaction("PATCH", "AuditEvent", audit.refuse_write, CHANGE_AUDIT, is_refusal=True),
        Interaction("DELETE", "AuditEvent", audit.refuse_write, REMOVE_AUDIT, is_refusal=True),
        Interaction("PUT", "AuditEvent/{id}", audit.refuse_write, CHANGE_AUDIT, is_refusal=True),
        Interaction("PATCH", "AuditEvent/{id}", audit.refuse_write, CHANGE_AUDIT, is_refusal=True),
        Interaction("DELETE", "AuditEvent/{id}", audit.refuse_write, REMOVE_AUDIT, is_refusal=True),
        Interaction("GET", "Observation/$lastn", h.last_observations.read, SEARCH, type_of=_observation),
        Interaction("POST", "Observation/$lastn", h.last_observations.read, SEARCH, type_of=_observation),
        Interaction(
            "POST", "{type}", resources.create, CREATE, plan=resources.plan_create, honours=AS_CREATE
        ),
        Interaction("POST", "{type}/$validate", h.validation.validate, CREATE),
        Interaction("POST", "{type}/{id}/$validate", h.validation.validate, CREATE),
        Interaction("GET", "{type}", search, SEARCH, only=is_searched),
        Interaction("GET", "{type}", resources.refuse_search, SEARCH, is_refusal=True),
        Interaction(
            "PUT",
            "{type}",
            resources.update_match,
            UPDATE,
            only=has_criteria,
            plan=resources.plan_update_match,
            honours=BY_CRITERIA,
        ),
        Interaction("PUT", "{type}", resources.refuse_conditional, UPDATE, is_refusal=True),
        Interaction(
            "PATCH",
            "{type}",
            resources.patch_match,
            UPDATE,
            only=has_criteria,
            plan=resources.plan_patch_match,
            honours=BY_CRITERIA,
        ),
        Interaction("PATCH", "{type}", resources.refuse_conditional, UPDATE, is_refusal=True),
        Interaction(
            "DELETE",
            "{type}",
            resources.delete_match,
            DELETE,
            only=has_criteria,
            plan=resources.plan_delete_match,
            honours=BY_CRITERIA,
        ),
        Interaction("DELETE", "{type}", resources.refuse_conditional, DELETE, is_refusal=True),
        Interaction("GET", "{type}/_search", search, SEARCH, only=is_searched),
        Interaction("POST", "{type}/_search", search, SEARCH, only=is_searched),
        Interaction("GET", "{type}/_search", resources.refuse_search, SEARCH, is_refusal=True),
        Interaction("POST", "{type}/_search", resources.refuse_search, SEARCH, is_refusal=True),
        Interaction("GET", "{type}/{id}", resources.read, READ_RESTRICTED),
        Interaction(
            "PUT", "{type}/{id}", resources.update, UPDATE, plan=resources.plan_update, honours=BY_ID
        ),
        Interaction(
            "DELETE", "{type}/{id}", resources.delete, DELETE, plan=resources.plan_delete, honours=BY_ID
        ),
        Interaction(
            "PATCH", "{type}/{id}", resources.patch, UPDATE, plan=resources.plan_patch, honours=BY_ID
        ),
        Interaction("GET", "{type}/{id}/_history/{version}", resources.read_version, READ_RESTRICTED),
        Interaction("GET", "_history", histories.of_all, Access.AUTHENTICATED),
        Interaction("GET", "{type}/_history", histories.of_type, SEARCH, only=histories.has_history),
        Interaction(
            "GET", "{type}/{id}/_history", histories.of_resource, READ_RESTRICTED, only=histories.has_history
        ),
    )


def _observation(_request: FhirRequest) -> str:
    return "Observation"
