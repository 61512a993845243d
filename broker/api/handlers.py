"""Builds the handlers of a FHIR base, each with the services it uses. Called once by the composition root."""

from broker.api.adoption import AdoptionHandlers
from broker.api.attempts import AttemptHandlers
from broker.api.audit_events import AuditEventHandlers
from broker.api.bulk_export import BulkExportHandlers
from broker.api.business_events import BusinessEventHandlers
from broker.api.dead_letters import DeadLetterHandlers
from broker.api.delivery_control import DeliveryControlHandlers
from broker.api.device_context import DeviceContextHandlers
from broker.api.diagnosis import DiagnosisHandlers
from broker.api.event_stream import EventStreamHandlers
from broker.api.history import HistoryHandlers
from broker.api.interactions import Handlers
from broker.api.last_observations import LastObservationHandlers
from broker.api.metadata import MetadataHandlers, ServerFacts
from broker.api.resources import ResourceHandlers
from broker.api.signing_secrets import SigningSecretHandlers
from broker.api.smart_configuration import SmartConfigurationHandlers
from broker.api.stored_searches import ResourceSearchHandlers
from broker.api.subscription_operations import SubscriptionOperationHandlers
from broker.api.subscriptions import SubscriptionHandlers
from broker.api.topics import TopicHandlers
from broker.api.validation import ValidationHandlers
from broker.api.websocket_tokens import WebsocketTokenHandlers
from broker.services.application import ApplicationServices
from broker.services.client_limits import ClientLimits


def handlers(
    services: ApplicationServices, facts: ServerFacts, limits: ClientLimits, *, max_entries: int
) -> Handlers:
    """The handlers for the interaction table."""
    return Handlers(
        metadata=MetadataHandlers(services.topics, services.searches, facts),
        smart_configuration=SmartConfigurationHandlers(is_smart=facts.is_smart),
        audit=AuditEventHandlers(services.audit),
        business_events=BusinessEventHandlers(services.business_events),
        dead_letters=DeadLetterHandlers(services.dead_letters),
        subscriptions=SubscriptionHandlers(services.subscriptions, services.conditional_subscriptions),
        operations=SubscriptionOperationHandlers(services.events),
        attempts=AttemptHandlers(services.attempts),
        delivery=DeliveryControlHandlers(services.delivery_control),
        signing=SigningSecretHandlers(services.signing_secrets),
        adoption=AdoptionHandlers(services.adoption),
        tokens=WebsocketTokenHandlers(services.websocket_tokens),
        diagnosis=DiagnosisHandlers(services.explain, services.dry_run),
        event_stream=EventStreamHandlers(services.subscriptions, services.following, limits),
        topics=TopicHandlers(services.topics, services.topic_trials),
        contexts=DeviceContextHandlers(services.device_contexts),
        validation=ValidationHandlers(services.validation, services.changes),
        resources=ResourceHandlers(services.changes),
        searches=ResourceSearchHandlers(services.searches),
        histories=HistoryHandlers(services.histories, services.type_histories),
        last_observations=LastObservationHandlers(services.last_observations),
        exports=BulkExportHandlers(services.exports, is_smart=facts.is_smart),
        max_entries=max_entries,
    )
