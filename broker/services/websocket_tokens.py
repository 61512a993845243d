"""Issues and redeems the tokens by which a websocket is bound to Subscriptions (R-326, R-366).

A token works once and expires; what it bound ends with it. It stands for the Subscriptions
that it names, in the tenant of the principal that requested it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import Issue, NotFound, Unprocessable
from broker.model.principal import Principal
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.services.subscriptions import SubscriptionService
from broker.store.subscriptions import Record
from broker.store.tokens import Binding, Tokens

CHANNEL = "websocket"
LIFETIME_MS = 30 * 60 * 1000


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, the time it expires (ms), and the Subscriptions it binds."""

    token: str
    expires_ms: int
    subscription_ids: Sequence[SubscriptionId]


class WebsocketTokenService:
    """Tokens for active websocket Subscriptions of the principal's tenant."""

    def __init__(self, subscriptions: SubscriptionService, tokens: Tokens) -> None:
        self._subscriptions = subscriptions
        self._tokens = tokens

    async def issue(self, principal: Principal, subscription_ids: Sequence[str] = ()) -> IssuedToken:
        """A token for the Subscriptions named, or for every active websocket Subscription of the tenant.

        Raises `NotFound`, and `Unprocessable` for a Subscription that is not an active websocket one.
        """
        if subscription_ids:
            ids = [await self._bindable(principal, each) for each in dict.fromkeys(subscription_ids)]
        else:
            ids = [
                record.subscription.id
                async for record in self._subscriptions.all(principal)
                if _can_be_bound(record)
            ]
        if not ids:
            text = "There is no active subscription with the channel websocket. Register one first."
            raise NotFound(Issue("not-found", text))
        token, expires_ms = await self._tokens.issue(principal, ids, LIFETIME_MS)
        return IssuedToken(token, expires_ms, ids)

    async def redeem(self, token: str) -> Binding | None:
        """What the token binds, once; None for a token that is unknown, used or expired."""
        return await self._tokens.redeem(token)

    async def _bindable(self, principal: Principal, subscription_id: str) -> SubscriptionId:
        record = await self._subscriptions.get(principal, subscription_id)
        if not _can_be_bound(record):
            channel, status = record.subscription.channel.type.code, record.subscription.status
            text = (
                f"Subscription/{subscription_id} is {status} with the channel {channel}. "
                "Name a websocket subscription that is active."
            )
            raise Unprocessable(Issue("business-rule", text, "id"))
        return record.subscription.id


def _can_be_bound(record: Record) -> bool:
    subscription = record.subscription
    return subscription.channel.type.code == CHANNEL and subscription.status is SubscriptionStatus.ACTIVE
