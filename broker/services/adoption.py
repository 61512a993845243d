"""Gives Subscriptions that belong to no registered client to one, on behalf of an administrator.

Such are those of the time before access control (`BROKER_AUTH=off`), and those of a client that was removed.
A broker with access control has turned them off: nobody could be asked whether they may see what they send.
"""

from broker.errors import Conflict, Forbidden, Issue, NotFound, Unprocessable
from broker.model.audit import Requester
from broker.model.precondition import VersionCondition
from broker.model.principal import Principal
from broker.model.subscription import Subscription, SubscriptionStatus
from broker.security.clients import Client, ClientRegistry
from broker.services.registration import RegistrationRules
from broker.services.subscription_quota import SubscriptionQuota
from broker.services.subscriptions import HANDSHAKE_DELAY_MS, SubscriptionService
from broker.store.subscriptions import Registration, Subscriptions


class AdoptionService:
    """Subscriptions of the administrator's tenant, and clients of it."""

    def __init__(
        self,
        service: SubscriptionService,
        subscriptions: Subscriptions,
        clients: ClientRegistry,
        rules: RegistrationRules,
        quota: SubscriptionQuota,
    ) -> None:
        self._service = service
        self._subscriptions = subscriptions
        self._clients = clients
        self._rules = rules
        self._quota = quota

    async def adopt(
        self, administrator: Principal, subscription_id: str, client_id: str, requester: Requester
    ) -> tuple[Subscription, str]:
        """The Subscription as its new owner has it, and the owner before. The caller calls `send_handshake`.

        It is checked as if the client registered it now. Raises `NotFound`, `Conflict` if it belongs to a
        registered client, is entered in error or is changed at the same moment, `Unprocessable` where the
        client may not have it, and `TooMany` where it has too many.
        """
        stored = (await self._service.get(administrator, subscription_id)).subscription
        if await self._clients.find(stored.owner) is not None:
            text = f"Subscription/{subscription_id} belongs to the registered client {stored.owner!r}."
            raise Conflict(
                Issue("conflict", f"{text} Have that client delete it, and the other register it.")
            )
        if stored.status is SubscriptionStatus.ENTERED_IN_ERROR:
            text = f"Subscription/{subscription_id} is entered in error, and stays so. Register another one."
            raise Conflict(Issue("conflict", text))
        owner = _principal_of(await self._new_owner(administrator, client_id))
        adopted = self._accept(stored, owner)
        await self._quota.check(owner, subscription_id)
        registration, version, at_ms = await self._subscriptions.put(
            adopted,
            create=False,
            condition=VersionCondition(str(stored.version)),
            only_owner=stored.owner,
            new_owner=client_id,
            handshake_in_ms=HANDSHAKE_DELAY_MS,
            requester=self._service.audited(stored.tenant, requester),
            is_pushed=self._rules.channel_of(adopted).is_pushed,
        )
        if registration not in {Registration.UPDATED, Registration.REPLAYED}:
            text = f"Subscription/{subscription_id} was changed meanwhile. Retry the request."
            raise Conflict(Issue("conflict", text))
        return adopted.changed(version=version, updated_ms=at_ms), stored.owner

    async def send_handshake(self, adopted: Subscription) -> None:
        """As `SubscriptionService.send_handshake`, where it needs one."""
        if adopted.status is SubscriptionStatus.REQUESTED:
            await self._service.send_handshake(adopted)

    async def _new_owner(self, administrator: Principal, client_id: str) -> Client:
        client = await self._clients.find(client_id)
        if client is None or client.tenant != administrator.tenant:
            raise NotFound(Issue("not-found", f"No client {client_id!r} is registered in your tenant."))
        if client.is_disabled:
            text = f"The client {client_id!r} is disabled. Enable it first."
            raise Unprocessable(Issue("business-rule", text, "client"))
        return client

    def _accept(self, stored: Subscription, owner: Principal) -> Subscription:
        requested = stored.changed(owner=owner.client_id, status=SubscriptionStatus.REQUESTED, error=None)
        try:
            return self._rules.accept(requested, owner)
        except Forbidden as error:  # the administrator may do this; the client lacks something
            raise Unprocessable(*error.issues) from error


def _principal_of(client: Client) -> Principal:
    return Principal(client.client_id, client.tenant, client.scopes, frozenset(client.roles))
