"""Builds what gets access tokens for the endpoints that ask for them."""

import contextlib
from collections.abc import AsyncIterator, Callable

from broker.channels.authorization import Authorization, NoAuthorization
from broker.delivery.outbound_tokens import OutboundTokens
from broker.delivery.token_requests import TokenRequests
from broker.egress.client import EgressClient
from broker.egress.documents import DocumentClient
from broker.security.broker_keys import BrokerKeys
from broker.security.key_ring import KeyRing
from broker.security.outbound_rules import OutboundRules
from broker.settings import Settings
from broker.store.outbound_tokens import OutboundTokenStore
from broker.store.protocol import Store


def load_outbound_rules(settings: Settings) -> OutboundRules:
    """The rules of BROKER_OUTBOUND_AUTH. Raises `ConfigurationError` for a file that is not valid."""
    return OutboundRules() if settings.outbound_auth is None else OutboundRules.read(settings.outbound_auth)


@contextlib.asynccontextmanager
async def open_authorization(
    settings: Settings,
    store: Store,
    ring: KeyRing | None,
    documents: DocumentClient,
    client_without_kept_connections: Callable[[], EgressClient],
) -> AsyncIterator[Authorization]:
    """Usable until the way out. Raises `ConfigurationError`.

    Token requests use a client of their own, which never sends one a second time: an assertion is used once
    (S-102).
    """
    rules = load_outbound_rules(settings)
    if settings.outbound_auth is None:
        yield NoAuthorization()
        return
    async with client_without_kept_connections() as egress:
        requests = TokenRequests(egress.post, documents.get, BrokerKeys(settings.keys_dir))
        tokens = OutboundTokens(rules, requests, OutboundTokenStore(store), ring)
        try:
            yield tokens
        finally:
            await tokens.close()
