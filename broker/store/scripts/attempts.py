"""Scripts on the log of attempts: append what no claim stands for, and trim."""

from collections.abc import Sequence

from broker.model.subscription import SubscriptionKey
from broker.store import attempt_keys, keys
from broker.store.attempt_records import AttemptLimits, NewAttempt
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern


def arguments_of(attempts: Sequence[NewAttempt]) -> list[Argument]:
    """The attempts as `lua/shared/attempts.lua` takes them."""
    arguments: list[Argument] = []
    for kind, digest, request, record, text in attempts:
        arguments += (kind, digest, request, record, text)
    return arguments


async def append_attempts(
    store: Store, subscription: SubscriptionKey, attempts: Sequence[NewAttempt], limits: AttemptLimits
) -> None:
    """Writes attempts of a subscription that exists."""
    shard = store.layout.shard_of(*subscription)
    call = ScriptCall(
        "append_attempts",
        [keys.subscription(shard, *subscription), *attempt_keys.of_subscription(shard, subscription)],
        [*limits, *arguments_of(attempts)],
    )
    await store.run(call)


async def replace_text(
    store: Store, subscription: SubscriptionKey, name: bytes, before: bytes, after: bytes
) -> bool:
    """Replaces the text of an attempt; False if it is not `before` any more."""
    shard = store.layout.shard_of(*subscription)
    texts = attempt_keys.of_subscription(shard, subscription).texts
    call = ScriptCall("replace_sealed_text", [texts], [name, before, after])
    return bool(await store.run(call, WriteConcern.DURABLE))


async def trim_attempts(
    store: Store,
    shard: int,
    subscriptions: Sequence[SubscriptionKey],
    limits: AttemptLimits,
    *,
    delivered_ms: int,
    failed_ms: int,
    texts_ms: int,
) -> None:
    """Removes attempts and texts before these moments, and those beyond the limits."""
    arguments = [max(0, delivered_ms), limits.delivered, max(0, failed_ms), limits.failed, max(0, texts_ms)]
    await store.run_many(
        [
            ScriptCall("trim_attempts", attempt_keys.of_subscription(shard, subscription), arguments)
            for subscription in subscriptions
        ]
    )
