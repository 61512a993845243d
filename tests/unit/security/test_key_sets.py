"""When a key set is fetched: by its lifetime, for an unknown kid, and while its URL does not answer."""

import asyncio
import json

import pytest

from broker.errors import KeysUnavailable
from broker.security.key_sets import (
    DEFAULT_LIFETIME_S,
    MAX_LIFETIME_S,
    REFETCH_S,
    RETRY_S,
    KeySet,
    KeySets,
    NoKeySet,
)
from broker.security.public_keys import PublicKey, parse_key_set
from tests.smart_clients import key_of

URL = "https://gateway.example/jwks"


class Server:
    """Answers with the keys of `names`; `lifetime_s` None fails."""

    def __init__(self) -> None:
        self.names = ["old"]
        self.lifetime_s: float | None = 60.0
        self.text = b""
        self.is_down = False
        self.count = 0
        self.now_s = 0.0
        self.sets = KeySets("client", self.fetch, lambda text: parse_key_set(json.loads(text)), self.time)

    def time(self) -> float:
        return self.now_s

    async def fetch(self, url: str) -> KeySet:
        assert url == URL
        self.count += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise NoKeySet("no connection")
        text = json.dumps({"keys": [dict(key_of(name).public_jwk) for name in self.names]}).encode()
        return KeySet(self.text or text, self.lifetime_s)

    async def has(self, name: str) -> bool:
        kid = key_of(name).kid
        return any(key.kid == kid for key in await self.sets.keys_at(URL, kid))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize(
    ("allowed_s", "kept_s"), [(60.0, 60.0), (None, DEFAULT_LIFETIME_S), (1e9, MAX_LIFETIME_S)]
)
async def test_a_set_is_kept_for_as_long_as_it_may_be(
    server: Server, allowed_s: float | None, kept_s: float
) -> None:
    server.lifetime_s = allowed_s
    assert await server.has("old")
    server.now_s = kept_s - 0.001
    assert await server.has("old")
    assert server.count == 1
    server.names = ["new"]
    server.now_s = kept_s
    assert not await server.has("old")
    assert server.count == 2


async def test_a_set_that_may_not_be_kept_answers_the_request_it_was_fetched_for(server: Server) -> None:
    server.lifetime_s = 0.0
    assert await server.has("old")
    assert await server.has("old")
    assert server.count == 2


async def test_an_unknown_kid_fetches_the_set_again_but_not_often(server: Server) -> None:
    server.lifetime_s = 3_000.0
    assert await server.has("old")
    server.names = ["old", "new"]
    assert not await server.has("new")  # it was fetched a moment ago
    server.now_s = REFETCH_S
    assert await server.has("new")
    assert await server.has("old")
    for _ in range(100):
        assert not await server.has("guessed")
    assert server.count == 2


async def test_callers_at_the_same_moment_share_one_request(server: Server) -> None:
    assert all(await asyncio.gather(*(server.has("old") for _ in range(50))))
    assert server.count == 1


async def test_a_caller_that_leaves_does_not_take_the_request_from_the_others(server: Server) -> None:
    first, second = asyncio.create_task(server.has("old")), asyncio.create_task(server.has("old"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


async def test_while_the_url_does_not_answer_a_set_is_used_until_its_time_is_over(server: Server) -> None:
    assert await server.has("old")
    server.is_down = True
    server.now_s = 59.0
    assert await server.has("old")
    with pytest.raises(KeysUnavailable):  # whether it has this key now is not known
        await server.has("new")
    assert await server.has("old")
    server.now_s = 60.0
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            await server.has("old")
    assert server.count == 2
    server.is_down = False
    server.now_s = 59.0 + RETRY_S
    assert await server.has("old")
    assert server.count == 3


@pytest.mark.parametrize("text", [b"<html>", b"[]", b'{"keys": []}', b"[" * 100_000, b'{"keys": "\xff"}'])
async def test_what_is_no_key_set_counts_as_no_answer(server: Server, text: bytes) -> None:
    server.text = text
    with pytest.raises(KeysUnavailable):
        await server.has("old")


async def test_keys_of_two_urls_are_kept_apart() -> None:
    async def fetch(url: str) -> KeySet:
        return KeySet(json.dumps({"keys": [dict(key_of(url).public_jwk)]}).encode(), 60.0)

    sets: KeySets[PublicKey] = KeySets("client", fetch, lambda text: parse_key_set(json.loads(text)))
    for url in ("a", "b"):
        assert [key.kid for key in await sets.keys_at(url, "x")] == [key_of(url).kid]
