"""A Subscription that writes to a FHIR server."""

from typing import Any

from broker.testing.registration import BACKPORT, subscription
from tests.integration.broker_fixture import VITAL_SIGNS

CHANNEL = {"system": "http://fhir-broker.org/channel-types", "code": "fhir-write"}


def write_subscription(
    release: str = "r4",
    endpoint: str = "fhir-write:ehr",
    *,
    topic: str = VITAL_SIGNS,
    content: str = "full-resource",
    **options: Any,
) -> dict[str, Any]:
    registered = subscription(release, topic, endpoint, content=content, **options)
    if release == "r5":
        return registered | {"channelType": CHANNEL}
    extension = {"url": f"{BACKPORT}backport-channel-type", "valueCoding": CHANNEL}
    registered["channel"]["_type"] = {"extension": [extension]}
    return registered
