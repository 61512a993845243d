"""Changes what subscriptions have sealed: header values in their models, and signing secrets.

Rotation of signing secrets, resealing under another key and the migration come here. Each change is a
comparison and a write in one script, so that none is lost to a registration or to another change.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from broker.model.subscription import Subscription, SubscriptionKey
from broker.store import keys
from broker.store.protocol import Store
from broker.store.scripts.subscriptions import Secrets, replace_secrets
from broker.store.subscription_ids import SubscriptionIds
from broker.store.subscriptions import decode_model, encode_model

_PAGE = 200


class Sealed(NamedTuple):
    """A subscription as it was registered, and its signing secrets (b'' for none)."""

    subscription: Subscription
    signing: bytes


Change = Callable[[Sealed], Sealed]


class SealedSecrets:
    """What the subscriptions of a store have sealed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = SubscriptionIds(store)

    async def rotate_signing(self, key: SubscriptionKey, change: Change) -> bool:
        """Stores the signing secrets that `change` returns, which claims name from now on. False if there is
        no such subscription.
        """
        return await self._change(key, change, uuid.uuid4().hex)

    async def change_all(self, change: Change) -> int:
        """Replaces what `change` changes, in every subscription; how many those were."""
        changed = 0
        async for key, before in self._all():
            sealed = _decoded(before)
            if change(sealed) != sealed:
                changed += await self._change(key, change, "")
        return changed

    async def all(self) -> AsyncIterator[Sealed]:
        """Of every subscription."""
        async for _, before in self._all():
            yield _decoded(before)

    async def _all(self) -> AsyncIterator[tuple[SubscriptionKey, Secrets]]:
        for shard in range(self._store.layout.shards):
            async for page in self._ids.in_shard(shard):
                for start in range(0, len(page), _PAGE):
                    part = page[start : start + _PAGE]
                    for key, secrets in zip(part, await self._read(part), strict=True):
                        if secrets is not None:
                            yield key, secrets

    async def _change(self, key: SubscriptionKey, change: Change, secrets_id: str) -> bool:
        while True:
            (before,) = await self._read([key])
            if before is None:
                return False
            after = change(_decoded(before))
            secrets = Secrets(encode_model(after.subscription), after.signing)
            if await replace_secrets(self._store, key, before, secrets, secrets_id):
                return True

    async def _read(self, wanted: Sequence[SubscriptionKey]) -> list[Secrets | None]:
        shard_of = self._store.layout.shard_of
        rows = await self._store.send(
            [("HMGET", keys.subscription(shard_of(*key), *key), "model", "signing_secrets") for key in wanted]
        )
        return [None if model is None else Secrets(model, signing or b"") for model, signing in rows]


def _decoded(secrets: Secrets) -> Sealed:
    return Sealed(decode_model(secrets.model), secrets.signing)
