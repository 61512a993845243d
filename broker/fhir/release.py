"""The differences between the FHIR releases behind one interface: `adapter(release)`.

Other packages use the neutral model; a fourth release would be one more adapter.
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
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.model.topic import Topic


class ReleaseAdapter(Protocol):
    """Reads and writes the framework's resources in one release."""

    release: Release
    version: str
    resource_types: frozenset[str]
    topic_type: str
    """The resource type that topics have at this base."""

    def validate(self, resource_type: str, resource: Resource) -> None:
        """Raises `Malformed`, or `Unprocessable` with one issue per error."""
        ...

    def parse_subscription(self, resource: Resource, *, tenant: Tenant, id: str) -> Subscription:
        """The neutral subscription. Raises `Malformed`, or `Unprocessable` with one issue per element."""
        ...

    def render_subscription(self, subscription: Subscription) -> Resource:
        """The Subscription in this release, with id, meta and status as they are now."""
        ...

    def element(self, name: str) -> str:
        """The FHIRPath of a neutral subscription element (`endpoint`, `parameter[2]`) in this release."""
        ...

    def filter_elements(self, subscription: Subscription) -> list[str]:
        """The FHIRPath of the element of each filter; the subscription was registered in this release."""
        ...

    def render_topic(self, topic: Topic) -> Resource:
        """The topic in the form of this release."""
        ...

    def render_notification(self, notification: Notification, *, base: str) -> Resource:
        """The notification Bundle; `base` is this release's base URL."""
        ...

    def render_status(self, notification: Notification, *, base: str) -> Resource:
        """The status resource alone, for `$status`."""
        ...

    def capability_statement(self, topics: Sequence[Topic], capabilities: Capabilities) -> Resource:
        """The CapabilityStatement that `metadata` returns."""
        ...


_ADAPTERS: Mapping[Release, ReleaseAdapter] = {Release.R4: R4(), Release.R4B: R4B(), Release.R5: R5()}
FHIR_VERSIONS: Mapping[Release, str] = {release: adapter.version for release, adapter in _ADAPTERS.items()}


def adapter(release: Release) -> ReleaseAdapter:
    return _ADAPTERS[release]
