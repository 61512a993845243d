"""What each FHIR release has to offer, and the one door to it: `adapter(release)`.

Everything outside this package speaks the neutral model; a fourth release would be one more adapter.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from broker.fhir.capabilities import Capabilities
from broker.fhir.r4 import R4
from broker.fhir.r4b import R4B
from broker.fhir.r5 import R5
from broker.model.change import Tenant
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.subscription import Subscription
from broker.model.topic import Topic


class ReleaseAdapter(Protocol):
    """Reads and writes the framework's resources in one release."""

    release: Release
    version: str
    resource_types: frozenset[str]
    topic_type: str
    """The resource type that topics have at this base."""

    def validate(self, resource_type: str, body: bytes) -> None:
        """Raises `Malformed` or `Unprocessable`, one issue per problem."""
        ...

    def parse_subscription(self, body: bytes, *, tenant: Tenant, id: str, now_ms: int) -> Subscription:
        """The neutral subscription; raises `Malformed` or `Unprocessable` naming elements."""
        ...

    def render_subscription(self, subscription: Subscription) -> bytes:
        """The document with id, meta and status as they are now, in this release whatever it was registered in."""
        ...

    def element(self, name: str) -> str:
        """The FHIRPath of a neutral subscription element (`endpoint`, `parameter[2]`) in this release."""
        ...

    def filter_places(self, subscription: Subscription) -> list[str]:
        """The element each filter of a subscription of this release came from."""
        ...

    def render_topic(self, topic: Topic) -> bytes:
        """The topic as this release knows it."""
        ...

    def render_notification(self, notification: Notification, *, base: str) -> bytes:
        """The notification Bundle; `base` is this release's base URL."""
        ...

    def render_status(self, notification: Notification, *, base: str) -> bytes:
        """The status resource alone, for `$status`."""
        ...

    def capability_statement(self, topics: Sequence[Topic], capabilities: Capabilities) -> bytes:
        """What `metadata` answers."""
        ...


_ADAPTERS: Mapping[Release, ReleaseAdapter] = {Release.R4: R4(), Release.R4B: R4B(), Release.R5: R5()}
FHIR_VERSIONS: Mapping[Release, str] = {release: one.version for release, one in _ADAPTERS.items()}


def adapter(release: Release) -> ReleaseAdapter:
    return _ADAPTERS[release]
