"""Limits how many Subscriptions a client and a tenant may have."""

from dataclasses import dataclass

from broker.errors import Issue, TooMany
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.subscription import SubscriptionId
from broker.store.subscriptions import Subscriptions

_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class SubscriptionQuota:
    """Zero stands for no limit. Registrations that run at the same time may exceed it by their number."""

    subscriptions: Subscriptions
    per_client: int
    per_tenant: int
    limits_open: bool

    async def check(self, principal: Principal, subscription_id: str) -> None:
        """Raises `TooMany` if the principal may register no further Subscription. One that exists may be
        stored again by who may see it: to others it is one that does not exist.
        """
        if not self.limits_open and principal.client == OPEN_PRINCIPAL.client:
            return
        owned = await self.subscriptions.owned(principal.tenant, principal.client_id)
        for count, limit, who, setting, name in (
            (owned.by_client, self.per_client, "client", "BROKER_MAX_SUBSCRIPTIONS", "subscriptions"),
            (
                owned.by_tenant,
                self.per_tenant,
                "tenant",
                "BROKER_MAX_TENANT_SUBSCRIPTIONS",
                "tenant-subscriptions",
            ),
        ):
            if not limit or count < limit:
                continue
            stored = await self.subscriptions.get(principal.tenant, SubscriptionId(subscription_id))
            if stored is not None and principal.may_see_those_of(stored.subscription.owner):
                return
            text = f"The {who} has {limit} Subscriptions ({setting}). Delete those that are not needed."
            raise TooMany(Issue("throttled", text), limit=name, retry_after_s=_RETRY_AFTER_S)
