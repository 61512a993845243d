"""The message channel posts a message Bundle with the notification to `$process-message` (R-340)."""

import orjson
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

from broker.channels.exchange import Exchange
from broker.channels.registry import channels
from broker.egress.client import EgressClient
from broker.fhir.release import adapter
from broker.model.notification import Notification, NotificationType
from broker.model.outcome import Delivered
from broker.model.release import Release
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conformance.channel_fixture import BASE_URL, LOOPBACK, request_to


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
    body = adapter(release).render_notification(notification, base=f"{BASE_URL}/{release}")
    bodies = []

    async def record(received: bytes) -> Answer:
        bodies.append(received)
        return Answer()

    subscriber.endpoint("$process-message").answer = record
    async with EgressClient(LOOPBACK) as egress:
        channel = channels(egress.post, egress.allowance, None, BASE_URL)["message"]
        for endpoint in (subscriber.url("").rstrip("/"), subscriber.url("")):
            request = request_to(endpoint, notification=notification, body=body.text)
            exchange = Exchange()
            assert await channel.send(request._replace(exchange=exchange)) == Delivered("200 OK")
            assert exchange.body == bodies[-1], "the message, not the notification in it"
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
    assert header["source"][place] == f"{BASE_URL}/{release}"


async def test_a_retry_sends_the_same_message(subscriber: SimulatedSubscriber) -> None:
    first, second = (orjson.loads(body) for body in await sent(Release.R4, subscriber))
    assert first["id"] == second["id"]
    assert first["entry"][1] == second["entry"][1]
