"""The message channel: a message Bundle at the subscriber's `$process-message`, the notification in it untouched (R-340)."""

import ipaddress

import orjson
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

from broker.channels.base import SendRequest
from broker.channels.registry import channels
from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.fhir.release import adapter
from broker.model.notification import Notification, NotificationType
from broker.model.outcome import Delivered
from broker.model.release import Release
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from broker.testing.subscriber import Answer, SimulatedSubscriber


def handshake(release: Release) -> Notification:
    return Notification(
        id="3b0d0f5c-6f3e-4d52-9a4e-8a7f0f6f2a11",
        type=NotificationType.HANDSHAKE,
        release=release,
        subscription=SubscriptionId("s1"),
        topic="http://example.org/topic",
        status=SubscriptionStatus.REQUESTED,
        content=PayloadContent.ID_ONLY,
        events_since_start=0,
        at_ms=1_700_000_000_000,
    )


async def sent(release: Release, subscriber: SimulatedSubscriber) -> list[bytes]:
    """The bodies of two attempts at one notification."""
    notification = handshake(release)
    body = adapter(release).render_notification(notification, base=f"http://broker.example/{release}")
    bodies = []

    async def keep(received: bytes) -> Answer:
        bodies.append(received)
        return Answer()

    subscriber.endpoint("$process-message").answer = keep
    request = SendRequest(
        SubscriptionId("s1"),
        subscriber.url("").rstrip("/"),
        "application/fhir+json",
        (),
        body,
        notification,
        5.0,
    )
    async with EgressClient(Allowance((ipaddress.ip_network("127.0.0.0/8"),))) as egress:
        channel = channels(egress, None, "http://broker.example")["message"]
        for attempt in (request, request._replace(endpoint=subscriber.url(""))):
            assert await channel.send(attempt) == Delivered(200)
    return bodies


@pytest.mark.parametrize("release", Release)
async def test_a_message_header_comes_first_and_its_focus_is_the_notification(
    release: Release, subscriber: SimulatedSubscriber
) -> None:
    first, _ = await sent(release, subscriber)
    model = BundleR5 if release is Release.R5 else BundleR4B
    model.model_validate_json(first)
    bundle = orjson.loads(first)
    header, notification = (entry["resource"] for entry in bundle["entry"])
    assert bundle["type"] == "message"
    assert header["resourceType"] == "MessageHeader"
    assert header["focus"] == [{"reference": bundle["entry"][1]["fullUrl"]}]
    assert notification["type"] == ("subscription-notification" if release is Release.R5 else "history")
    place = "endpointUrl" if release is Release.R5 else "endpoint"
    assert header["source"][place] == f"http://broker.example/{release}"


async def test_a_repetition_is_the_same_message(subscriber: SimulatedSubscriber) -> None:
    first, second = (orjson.loads(body) for body in await sent(Release.R4, subscriber))
    assert first["id"] == second["id"]
    assert first["entry"][1] == second["entry"][1]
