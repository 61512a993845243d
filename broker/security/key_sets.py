"""Public keys behind URLs: key sets of clients (`jwks_uri`), fetched when they are needed and kept for as
long as their headers allow (S-029 to S-033).

What happens while a URL does not answer: a set that was fetched is used until its time is over. After that,
and for a kid that it does not have, `KeysUnavailable` is raised: whether the signature is right is not known.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import structlog

from broker.errors import KeysUnavailable
from broker.recently_used import RecentlyUsed
from broker.security.clients import Client
from broker.security.public_keys import PublicKey, parse_key_set

DEFAULT_LIFETIME_S = 300.0
"""Where the server does not say for how long its set may be kept."""
MAX_LIFETIME_S = 3_600.0
"""However long the server says: a key that was withdrawn is not accepted for longer."""
REFETCH_S = 10.0
"""A set is fetched again for an unknown kid at most so often: anybody can send one."""
RETRY_S = 5.0
"""After a failure the URL is left alone for so long."""
MAX_SETS = 10_000
_log = structlog.get_logger(__name__)


class KeySet(NamedTuple):
    """The text of a key set, and for how many seconds it may be kept (None: not said)."""

    text: bytes
    lifetime_s: float | None


class NoKeySet(Exception):  # noqa: N818 an expected result
    """No key set is at the URL. The text says why, in words for an operator."""


Fetch = Callable[[str], Awaitable[KeySet]]
"""From a URL to its key set; raises `NoKeySet`."""


class _Key(Protocol):
    @property
    def kid(self) -> str: ...


K = TypeVar("K", bound=_Key)


class _Source(Generic[K]):
    """What is known of one URL. Times are those of `time.monotonic`."""

    def __init__(self) -> None:
        self.keys: Sequence[K] = ()
        self.valid_until = 0.0
        self.fetched_at = float("-inf")
        self.failed_at = float("-inf")
        self.attempts = 0
        self.turn = asyncio.Lock()

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt failed."""
        return self.failed_at > float("-inf")

    def has(self, kid: str) -> bool:
        return any(key.kid == kid for key in self.keys)


class KeySets(Generic[K]):
    """One a process for each kind of owner. `parse` makes the keys of a text, and raises `ValueError` for one
    that is not valid.
    """

    def __init__(
        self,
        owner: str,
        fetch: Fetch,
        parse: Callable[[bytes], Sequence[K]],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._fetch = fetch
        self._parse = parse
        self._now_s = now_s
        self._sources: RecentlyUsed[str, _Source[K]] = RecentlyUsed(MAX_SETS, MAX_LIFETIME_S)

    async def keys_at(self, url: str, kid: str) -> Sequence[K]:
        """The keys of the URL, with the one of `kid` if it is there. Raises `KeysUnavailable`.

        Callers that need the same URL at the same moment wait for one request.
        """
        source = self._source(url)
        now_s = self._now_s()
        if now_s < source.valid_until and (source.has(kid) or now_s < source.fetched_at + REFETCH_S):
            return source.keys
        attempts = source.attempts
        async with source.turn:
            if source.attempts == attempts and self._now_s() >= source.failed_at + RETRY_S:
                await self._load(source, url)
                source.attempts += 1
        if source.has_failed:
            text = f"The key set of the {self._owner} cannot be fetched. Make it available, then retry."
            raise KeysUnavailable(text, retry_after_s=int(RETRY_S))
        # also those that may be kept for no time at all: they were fetched for this request
        return source.keys

    def _source(self, url: str) -> _Source[K]:
        source = self._sources.get(url)
        if source is None:
            source = _Source[K]()
            self._sources.put(url, source)
        return source

    async def _load(self, source: _Source[K], url: str) -> None:
        try:
            text, lifetime_s = await self._fetch(url)
            keys = self._parse(text)
        except (NoKeySet, ValueError, RecursionError) as error:
            source.failed_at = self._now_s()
            _log.warning("key set not fetched", owner=self._owner, url=url, error=str(error))
            return
        allowed_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
        source.keys, source.failed_at = keys, float("-inf")
        source.fetched_at = self._now_s()
        source.valid_until = source.fetched_at + min(MAX_LIFETIME_S, allowed_s)


class ClientKeys:
    """The keys of a registration, or those behind its `jwks_uri`."""

    def __init__(self, sets: KeySets[PublicKey]) -> None:
        self._sets = sets

    async def keys_of(self, client: Client, kid: str) -> Sequence[PublicKey]:
        """As `client_assertion.KeySource` says."""
        return await self._sets.keys_at(client.jwks_uri, kid) if client.jwks_uri else client.keys


def client_keys(fetch: Fetch) -> ClientKeys:
    return ClientKeys(KeySets("client (jwks_uri)", fetch, lambda text: parse_key_set(json.loads(text))))
