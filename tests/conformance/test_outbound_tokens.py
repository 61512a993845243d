"""Tokens from other servers are shared by the processes of a store: one request, and one at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.channels.authorization import Credentials, TokenUnavailable
from broker.delivery.outbound_tokens import OutboundTokens
from broker.delivery.token_requests import IssuedToken, TokenRefused
from broker.model.change import Tenant
from broker.security.key_ring import KeyRing
from broker.security.outbound_rules import OutboundRule, OutboundRules
from broker.store.outbound_tokens import OutboundTokenStore
from broker.store.protocol import Store
from tests.integration.broker_fixture import until

STORES = ("embedded", "cluster")
TENANTS = (Tenant("a"), Tenant("b"))
URL = "https://ehr.example/hook"
OTHER = "https://other.example/hook"


class Issuer:
    """Stands for the token server. `lifetime_s` is of its next tokens; `refusal` is raised in their place."""

    def __init__(self) -> None:
        self.count = 0
        self.lifetime_s = 300.0
        self.refusal: TokenRefused | None = None

    async def request(self, rule: OutboundRule) -> IssuedToken:
        self.count += 1
        number = self.count
        await asyncio.sleep(0.05)
        if self.refusal is not None:
            raise self.refusal
        return IssuedToken(f"{rule.tenant}-{number}", self.lifetime_s)


Make = Callable[..., OutboundTokens]


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def make(store: Store, key_ring: Path, issuer: Issuer) -> AsyncIterator[Make]:
    made: list[OutboundTokens] = []
    rules = [
        OutboundRule(tenant, url, "c", "s", "private_key_jwt", "https://auth.example/token")
        for tenant in TENANTS
        for url in (URL, OTHER)
    ]

    def process(*, has_ring: bool = True) -> OutboundTokens:
        ring = KeyRing(key_ring) if has_ring else None
        made.append(OutboundTokens(OutboundRules(rules), issuer, OutboundTokenStore(store), ring))  # type: ignore[arg-type]
        return made[-1]

    yield process
    for each in made:
        await each.close()


async def token_of(process: OutboundTokens, tenant: Tenant = TENANTS[0], url: str = URL) -> str:
    credentials = await process.credentials(tenant, url, timeout_s=60)
    assert isinstance(credentials, Credentials), credentials
    return credentials.authorization


async def test_many_deliveries_of_many_processes_make_one_request(make: Make, issuer: Issuer) -> None:
    processes = [make(), make(), make()]
    tokens = await asyncio.gather(*(token_of(process) for process in processes for _ in range(20)))
    assert set(tokens) == {"Bearer a-1"}
    assert issuer.count == 1


async def test_tenants_and_servers_have_tokens_of_their_own(make: Make, issuer: Issuer) -> None:
    process = make()
    tokens = {
        (tenant, url): await token_of(process, tenant, url) for tenant in TENANTS for url in (URL, OTHER)
    }
    assert len(set(tokens.values())) == 4
    assert tokens[TENANTS[1], URL].startswith("Bearer b-")
    assert await process.credentials(Tenant("c"), URL, timeout_s=1) is None
    assert await process.credentials(TENANTS[0], "https://third.example/", timeout_s=1) is None


async def test_a_refused_token_is_given_out_by_no_process(make: Make, issuer: Issuer) -> None:
    first, second = make(), make()
    old = Credentials(await token_of(first))
    await token_of(second)
    await first.refused(TENANTS[0], URL, old)
    assert await token_of(first) == "Bearer a-2"
    await second.refused(TENANTS[0], URL, old)
    assert await token_of(second) == "Bearer a-2", "the new token of the first is kept"
    assert issuer.count == 2


async def test_a_token_is_replaced_in_the_background_before_it_expires(make: Make, issuer: Issuer) -> None:
    process = make()
    issuer.lifetime_s = 2.0
    first = await token_of(process)
    issuer.lifetime_s = 300.0  # the second one lasts

    async def is_replaced() -> bool:
        return await token_of(process) != first

    await until(is_replaced)
    assert issuer.count == 2


async def test_after_a_failure_no_request_follows_for_a_while(make: Make, issuer: Issuer) -> None:
    process = make()
    issuer.refusal = TokenRefused("it answered 503", 60.0)
    for _ in range(5):
        answer = await process.credentials(TENANTS[0], URL, timeout_s=60)
        assert answer == TokenUnavailable("it answered 503", 60.0)
    assert issuer.count == 1


async def test_without_a_key_ring_nothing_is_stored(make: Make, store: Store, issuer: Issuer) -> None:
    first, second = make(has_ring=False), make(has_ring=False)
    assert await token_of(first) == await token_of(first) == "Bearer a-1"
    assert await token_of(second) == "Bearer a-2"
    await first.refused(TENANTS[0], URL, Credentials("Bearer a-1"))
    assert await token_of(first) == "Bearer a-3"
    _, sample = await store.sample_keys(100)
    assert not [key for key in sample if b"outbound" in key]
