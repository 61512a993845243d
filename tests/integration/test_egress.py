"""The egress client against real sockets: where it connects, what it refuses, and how it limits responses."""

import asyncio
from ipaddress import ip_network

import pytest

from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure, HttpResponse
from tests.integration.raw_endpoint import HERE, OK, Names, answering, fine, listening, post, take


async def test_a_host_name_is_looked_up_once_and_only_its_permitted_addresses_are_used() -> None:
    names = Names(["10.0.0.1", "::1", "127.0.0.1", "169.254.169.254"])
    async with listening(fine) as port, EgressClient(HERE, resolve=names) as client:
        answer = await post(client, f"http://ehr.example:{port}/")
    assert answer == HttpResponse(200, None, b"ok")
    assert names.lookups == ["ehr.example"]


async def test_a_host_name_rebound_to_an_internal_address_is_refused_on_the_next_connection() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    closing = answering(OK)  # so that the second attempt needs a connection of its own
    async with listening(closing) as port, EgressClient(HERE, resolve=names) as client:
        first = await post(client, f"http://ehr.example:{port}/")
        second = await post(client, f"http://ehr.example:{port}/")
    assert first == HttpResponse(200, None, b"ok")
    assert second == HttpFailure("refused-address", "ehr.example has no address that may be notified")
    assert names.lookups == ["ehr.example"] * 2


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "10.0.0.1", "8.8.8.8", "::1", "::ffff:10.0.0.1", "fe80::1%lo", "nonsense"]
)
async def test_plain_http_reaches_allowed_networks_only(address: str) -> None:
    async with EgressClient(HERE, resolve=Names([address])) as client:
        answer = await post(client, "http://ehr.example/")
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "refused-address"
    assert address not in answer.text


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "10.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "2130706433", "127.1", "0x7f.1", "0177.0.0.1"],
)
async def test_an_address_in_the_url_is_judged_without_a_lookup(host: str) -> None:
    names = Names(["127.0.0.1"])
    async with listening(fine) as port, EgressClient(HERE, resolve=names) as client:
        answer = await post(client, f"http://{host}:{port}/")
    assert isinstance(answer, HttpFailure)
    assert answer.kind == "refused-address"
    assert names.lookups == []


async def test_addresses_from_the_system_resolver_are_judged_too() -> None:
    async with listening(fine) as port:
        async with EgressClient(Allowance()) as client:
            refused = await post(client, f"https://localhost:{port}/")
        async with EgressClient(Allowance((*HERE.networks, ip_network("::1/128")))) as client:
            allowed = await post(client, f"http://localhost:{port}/")
    assert refused == HttpFailure("refused-address", "localhost has no address that may be notified")
    assert allowed == HttpResponse(200, None, b"ok")


@pytest.mark.parametrize("failure", [OSError("no such name"), UnicodeError("label too long")])
async def test_a_failed_lookup_is_reported_as_dns(failure: Exception) -> None:
    async def failing(_host: str, _port: int) -> list[str]:
        raise failure

    async with EgressClient(HERE, resolve=failing) as client:
        assert await post(client, "https://ehr.example/") == HttpFailure(
            "dns", "ehr.example can't be resolved"
        )


async def test_the_timeout_includes_the_lookup() -> None:
    async def stuck(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with EgressClient(HERE, resolve=stuck) as client:
        answer = await post(client, "https://ehr.example/", timeout_s=0.1)
    assert answer == HttpFailure("no-response", "no answer within 0.1 s")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with listening(fine) as port, EgressClient(HERE) as client:
        assert await post(client, f"http://127.0.0.1:{port}/") == HttpResponse(200, None, b"ok")


async def test_cookies_of_an_endpoint_are_not_sent_back() -> None:
    heads: list[list[str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await take(reader))
            writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: who=me; Path=/\r\n\r\n")

    async with listening(serve) as port, EgressClient(HERE) as client:
        await post(client, f"http://127.0.0.1:{port}/")
        await post(client, f"http://127.0.0.1:{port}/")
    assert len(heads) == 2
    assert not [line for head in heads for line in head if line.lower().startswith("cookie")]
