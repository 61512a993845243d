"""Access tokens for the endpoints that ask for them: got once, kept, shared, and replaced in time (S-103 to
S-105).

A token is used until 30 s before it expires, and replaced in the background before that. In a process one
request for it is under way at a time, and among the processes of a store too. After a failure no request
follows for `FAILURE_S`, or for as long as the server asks. What is shared in the store is sealed by the key
ring; without one, each process keeps its own. Channels use this as `Authorization`.
"""

import asyncio
import hashlib
import json
import time
from typing import NamedTuple

import structlog

from broker.channels.authorization import Credentials, TokenUnavailable
from broker.delivery.token_requests import TokenRefused, TokenRequests
from broker.errors import StoreUnavailable
from broker.model.change import Tenant
from broker.security.key_ring import KeyRing, Place, SecretUnreadable
from broker.security.outbound_rules import OutboundRule, OutboundRules
from broker.store.outbound_tokens import TURN_MS, OutboundTokenStore

FAILURE_S = 5.0
MAX_FAILURE_S = 300.0
_MARGIN_S = 30.0
_WAIT_S = 0.05
_log = structlog.get_logger(__name__)

_Key = tuple[Tenant, str]


class _Held(NamedTuple):
    """A token, until when it is used, and from when on it is replaced; both in monotonic time."""

    value: str
    until_s: float
    renew_s: float


class _Failed(NamedTuple):
    unavailable: TokenUnavailable
    until_s: float


class OutboundTokens:
    """The tokens of all rules. `close` ends the requests under way."""

    def __init__(
        self,
        rules: OutboundRules,
        requests: TokenRequests,
        stored: OutboundTokenStore,
        ring: KeyRing | None,
    ) -> None:
        self._rules = rules
        self._requests = requests
        self._stored = stored
        self._ring = ring
        self._held: dict[_Key, _Held] = {}
        self._failed: dict[_Key, _Failed] = {}
        self._under_way: dict[_Key, asyncio.Task[Credentials | TokenUnavailable]] = {}

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def credentials(
        self, tenant: Tenant, url: str, *, timeout_s: float
    ) -> Credentials | TokenUnavailable | None:
        rule = self._rules.find(tenant, url)
        if rule is None:
            return None
        key, now_s = _key(rule), time.monotonic()
        held, failed = self._held.get(key), self._failed.get(key)
        is_failing = failed is not None and failed.until_s > now_s
        if held is not None and held.until_s > now_s:
            if held.renew_s <= now_s and not is_failing:
                self._start(key, rule)
            return _bearer(held.value)
        if failed is not None and is_failing:
            return failed.unavailable
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._start(key, rule))
        except TimeoutError:
            return TokenUnavailable(f"no access token within {timeout_s:g} s")

    async def refused(self, tenant: Tenant, url: str, credentials: Credentials) -> None:
        rule = self._rules.find(tenant, url)
        if rule is None:
            return
        key = _key(rule)
        held = self._held.get(key)
        if held is not None and _bearer(held.value) == credentials:
            del self._held[key]
        if self._ring is None:
            return
        try:
            stored = await self._find(key)
            if stored is not None and _bearer(stored.value) == credentials:
                await self._stored.forget(*key)
        except StoreUnavailable as error:
            _log.warning("a refused token stays in the store", tenant=tenant, error=str(error))

    def _start(self, key: _Key, rule: OutboundRule) -> "asyncio.Task[Credentials | TokenUnavailable]":
        """The task that gets the token: the one that is under way, or a new one."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._get(key, rule))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _get(self, key: _Key, rule: OutboundRule) -> Credentials | TokenUnavailable:
        try:
            held = await (self._request(key, rule) if self._ring is None else self._shared(key, rule))
        except TokenRefused as error:
            unavailable = TokenUnavailable(str(error), error.retry_after_s)
            wait_s = min(max(FAILURE_S, error.retry_after_s or 0), MAX_FAILURE_S)
        except StoreUnavailable as error:
            unavailable, wait_s = TokenUnavailable(str(error)), 0.0
        else:
            self._held[key] = held
            self._failed.pop(key, None)
            return _bearer(held.value)
        _log.warning("no access token", tenant=rule.tenant, endpoint=rule.url, reason=unavailable.text)
        self._failed[key] = _Failed(unavailable, time.monotonic() + wait_s)
        return unavailable

    async def _shared(self, key: _Key, rule: OutboundRule) -> _Held:
        """A token of another process that need not be replaced yet, or a new one in this one's turn."""
        until_s = time.monotonic() + 2 * TURN_MS / 1000
        while time.monotonic() < until_s:
            held = await self._fresh(key)
            if held is not None:
                return held
            if await self._stored.take_turn(*key):
                try:
                    return await self._fresh(key) or await self._request(key, rule)
                finally:
                    await self._stored.end_turn(*key)
            await asyncio.sleep(_WAIT_S)
        raise TokenRefused("no access token: other processes are still asking for it")

    async def _fresh(self, key: _Key) -> _Held | None:
        held = await self._find(key)
        return held if held is not None and held.renew_s > time.monotonic() else None

    async def _request(self, key: _Key, rule: OutboundRule) -> _Held:
        issued = await self._requests.request(rule)
        usable_s = issued.lifetime_s - min(_MARGIN_S, issued.lifetime_s / 4)
        ahead_s = min(_MARGIN_S, usable_s / 4)
        if self._ring is not None:
            document = json.dumps({"token": issued.value, "ahead_s": ahead_s}).encode()
            sealed = self._ring.seal(document, _place(key))
            await self._stored.keep(*key, sealed, max(1, int(usable_s * 1000)))
        now_s = time.monotonic()
        return _Held(issued.value, now_s + usable_s, now_s + usable_s - ahead_s)

    async def _find(self, key: _Key) -> _Held | None:
        stored = await self._stored.find(*key)
        if stored is None or self._ring is None:
            return None
        try:
            document = json.loads(self._ring.open(stored.sealed, _place(key)))
        except SecretUnreadable:
            return None  # the key was dropped from the ring: a new token replaces it
        until_s = time.monotonic() + stored.left_ms / 1000
        return _Held(document["token"], until_s, until_s - document["ahead_s"])


def _bearer(token: str) -> Credentials:
    return Credentials(f"Bearer {token}")


def _key(rule: OutboundRule) -> _Key:
    """What a token is for. The rule's URL is part of it: a token that was got for one server is never sent to
    another, although the same client gets both.
    """
    text = json.dumps([rule.url, rule.source, rule.client_id, rule.scope, rule.method])
    return rule.tenant, hashlib.sha256(text.encode()).hexdigest()[:32]


def _place(key: _Key) -> Place:
    tenant, name = key
    return Place(tenant, f"outbound/{name}", "access token")
