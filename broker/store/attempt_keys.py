"""The keys of the log of attempts: four for each subscription, in the slot of its shard."""

from typing import NamedTuple

from broker.model.subscription import SubscriptionKey
from broker.store.keys import member, shard_tag


class AttemptKeys(NamedTuple):
    """The keys of one subscription, in the order in which the scripts take them.

    `delivered` and `failed` are the streams of the last attempts that delivered and that failed;
    `lua/shared/attempts.lua` describes an entry. `requests` is a hash: digest -> endpoint and headers of
    requests, as JSON. `texts` is a hash: `d` or `f` and the id of an entry -> what was sent and answered,
    packed as resources are.
    """

    delivered: str
    failed: str
    requests: str
    texts: str


def of_subscription(shard: int, subscription: SubscriptionKey) -> AttemptKeys:
    tag, name = shard_tag(shard), member(*subscription)
    return AttemptKeys(
        f"{tag}:attempts:{name}",
        f"{tag}:failed-attempts:{name}",
        f"{tag}:attempt-requests:{name}",
        f"{tag}:attempt-texts:{name}",
    )
