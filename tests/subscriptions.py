"""A Subscription as a value, for tests that write to the store themselves."""

from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)


def stored_subscription(
    subscription_id: str = "one",
    *,
    release: Release = Release.R5,
    status: SubscriptionStatus = SubscriptionStatus.REQUESTED,
    channel: str = "rest-hook",
    content: PayloadContent = PayloadContent.ID_ONLY,
    heartbeat_s: int | None = None,
    max_count: int | None = 2,
) -> Subscription:
    """A subscription of the default tenant without filters."""
    return Subscription(
        tenant=DEFAULT_TENANT,
        id=SubscriptionId(subscription_id),
        release=release,
        status=status,
        topic="http://example.org/topic",
        filters=(),
        channel=Channel(
            type=ChannelType(channel),
            endpoint="http://127.0.0.1:1/",
            headers=(),
            content_type="application/fhir+json",
            content=content,
            heartbeat_s=heartbeat_s,
            max_count=max_count,
        ),
        document=b"{}",
    )
