"""What the handlers work with; built once by `broker.app`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from broker.channels.base import Channel
from broker.clock import Clock
from broker.delivery.composing import Composer
from broker.delivery.following import Following
from broker.ingest.intake import Intake
from broker.matching.catalog import Catalog
from broker.model.release import Release
from broker.model.search import ParameterTable
from broker.settings import Settings
from broker.store.changes import Changes
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letters import DeadLetters
from broker.store.outbox import Outboxes
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from broker.store.tokens import Tokens
from broker.store.topics import Topics


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the API."""

    settings: Settings
    clock: Clock
    store: Store
    intake: Intake
    changes: Changes
    resources: Resources
    subscriptions: Subscriptions
    outboxes: Outboxes
    schedule: Schedule
    dead_letters: DeadLetters
    dead_letter_actions: DeadLetterActions
    catalog: Catalog
    topics: Topics
    follow_topics: Callable[[], Awaitable[None]]
    parameters: ParameterTable
    channels: Mapping[str, Channel]
    tokens: Tokens
    composer: Composer
    following: Following
    started_ms: int

    @property
    def bases(self) -> frozenset[str]:
        """The URLs under which resources of this broker may be referred to (R-405)."""
        return frozenset(f"{self.base_url}/{release}" for release in Release)

    @property
    def base_url(self) -> str:
        return self.settings.base_url
