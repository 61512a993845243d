"""The keys of the log of attempts: four for each subscription, in the slot of its shard."""

from broker.model.subscription import SubscriptionKey
from broker.store.keys import member, shard_tag


def delivered_attempts(shard: int, subscription: SubscriptionKey) -> str:
    """Stream of the last attempts that delivered; `lua/shared/attempts.lua` describes an entry."""
    return f"{shard_tag(shard)}:attempts:{member(*subscription)}"


def failed_attempts(shard: int, subscription: SubscriptionKey) -> str:
    """Stream of the last attempts that failed."""
    return f"{shard_tag(shard)}:failed-attempts:{member(*subscription)}"


def attempt_requests(shard: int, subscription: SubscriptionKey) -> str:
    """Hash: digest -> endpoint and headers of requests, as JSON."""
    return f"{shard_tag(shard)}:attempt-requests:{member(*subscription)}"


def attempt_texts(shard: int, subscription: SubscriptionKey) -> str:
    """Hash: `d` or `f` and the id of an entry -> what was sent and answered, packed as resources are."""
    return f"{shard_tag(shard)}:attempt-texts:{member(*subscription)}"


def of_subscription(shard: int, subscription: SubscriptionKey) -> list[str]:
    """All four, in the order in which the scripts take them."""
    return [
        delivered_attempts(shard, subscription),
        failed_attempts(shard, subscription),
        attempt_requests(shard, subscription),
        attempt_texts(shard, subscription),
    ]
