"""Makes the secrets that sign the notifications of a Subscription.

A Subscription is signed from its first secret on. A secret is shown once, in the answer to the request that
made it; the store has it sealed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.channels.base import Channel
from broker.clock import Clock
from broker.errors import Issue, NotFound, Unprocessable
from broker.fhir.release import adapter
from broker.model.principal import Principal
from broker.model.subscription import Subscription
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.security.webhook_signatures import new_secret, rotated, shown_secret
from broker.services.subscriptions import SubscriptionService
from broker.store.sealed_secrets import Sealed, SealedSecrets
from broker.store.sealing_keys import SealingKeys


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """The new secret, as `whsec_` and base64, and until when the one before it signs too (None: there was
    none, or it ended at once).
    """

    secret: str
    previous_ends_ms: int | None


class SigningSecretService:
    """The signing secrets of the Subscriptions that the principal may see."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        sealed: SealedSecrets,
        sealing_keys: SealingKeys,
        secrets: SubscriptionSecrets,
        channels: Mapping[str, Channel],
        clock: Clock,
        *,
        overlap_ms: int,
    ) -> None:
        self._subscriptions = subscriptions
        self._sealed = sealed
        self._sealing_keys = sealing_keys
        self._secrets = secrets
        self._channels = channels
        self._clock = clock
        self._overlap_ms = overlap_ms

    async def rotate(
        self, principal: Principal, subscription_id: str, *, ends_previous: bool = False
    ) -> RotatedSecret:
        """Makes a secret. The one before it signs too for the overlap, or no more with `ends_previous`.

        Raises `NotFound`, `Unprocessable` for a channel that is not signed, and `Conflict` for a broker
        without a key ring.
        """
        subscription = (await self._subscriptions.get(principal, subscription_id)).subscription
        self._check_channel(subscription)
        await self._sealing_keys.record(self._secrets.active_key_id)
        secret = new_secret()
        now_ms = self._clock.now_ms()
        ends_ms = now_ms if ends_previous else now_ms + self._overlap_ms
        before: list[int] = []

        def change(stored: Sealed) -> Sealed:
            signing = self._secrets.open_signing(subscription, stored.signing)
            changed = rotated(signing, secret, ends_ms)
            before[:] = [each.ends_ms for each in changed[1:]]
            return stored._replace(signing=self._secrets.seal_signing(subscription, changed))

        if not await self._sealed.rotate_signing((subscription.tenant, subscription.id), change):
            text = f"Subscription/{subscription_id} was deleted meanwhile. Register it again."
            raise NotFound(Issue("not-found", text))
        await self._sealing_keys.record(self._secrets.active_key_id)
        has_overlap = bool(before) and ends_ms > now_ms
        return RotatedSecret(shown_secret(secret), ends_ms if has_overlap else None)

    def _check_channel(self, subscription: Subscription) -> None:
        code = subscription.channel.type.code
        channel = self._channels.get(code)
        if channel is None or not channel.is_signed:
            text = f"Notifications of the channel {code} are not signed. Use rest-hook or message."
            element = adapter(subscription.release).element("channelType")
            raise Unprocessable(Issue("not-supported", text, element))
