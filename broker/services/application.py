"""The application services of one process, built once by the composition root."""

from dataclasses import dataclass

from broker.delivery.following import Following
from broker.services.adoption import AdoptionService
from broker.services.attempts import AttemptService
from broker.services.audit import AuditService
from broker.services.bulk_export import BulkExportService
from broker.services.business_events import BusinessEventService
from broker.services.changes import ChangeService
from broker.services.conditional_subscriptions import ConditionalSubscriptions
from broker.services.dead_letters import DeadLetterService
from broker.services.delivery_control import DeliveryControl
from broker.services.device_context import DeviceContextService
from broker.services.dry_run import DryRunService
from broker.services.events import EventService
from broker.services.explain import ExplainService
from broker.services.history import HistoryService
from broker.services.last_observations import LastObservationsService
from broker.services.resource_search import ResourceSearchService
from broker.services.signing_secrets import SigningSecretService
from broker.services.subscription_listing import SubscriptionListing
from broker.services.subscriptions import SubscriptionService
from broker.services.topic_trial import TopicTrialService
from broker.services.topics import TopicService
from broker.services.type_history import TypeHistoryService
from broker.services.validation import ValidationService
from broker.services.websocket_tokens import WebsocketTokenService


@dataclass(frozen=True, slots=True)
class ApplicationServices:
    """One attribute for each thing that can be done; each handler gets only the services it uses."""

    audit: AuditService
    changes: ChangeService
    histories: HistoryService
    searches: ResourceSearchService
    type_histories: TypeHistoryService
    exports: BulkExportService
    last_observations: LastObservationsService
    business_events: BusinessEventService
    subscriptions: SubscriptionService
    listing: SubscriptionListing
    conditional_subscriptions: ConditionalSubscriptions
    events: EventService
    attempts: AttemptService
    delivery_control: DeliveryControl
    signing_secrets: SigningSecretService
    adoption: AdoptionService
    explain: ExplainService
    dry_run: DryRunService
    topics: TopicService
    topic_trials: TopicTrialService
    dead_letters: DeadLetterService
    websocket_tokens: WebsocketTokenService
    following: Following
    device_contexts: DeviceContextService
    validation: ValidationService
