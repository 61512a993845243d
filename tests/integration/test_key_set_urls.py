"""Clients with a jwks_uri: rotation of keys, outages, and what may be fetched from where."""

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from broker.egress.addresses import Allowance
from broker.egress.documents import MAX_BYTES, DocumentClient, NotFetched
from broker.egress.http_connection import BODY_S
from broker.errors import ConfigurationError
from broker.security import key_sets
from broker.security.private_keys import PrivateKey
from tests.conftest import StartBroker
from tests.integration.key_set_server import KeySetServer, key_set_server
from tests.integration.raw_endpoint import HERE, listening
from tests.integration.smart_broker import SmartBroker, smart_broker

SCOPE = "system/Observation.rs"
OLD, NEW = PrivateKey.generate(), PrivateKey.generate("RS384")


@pytest.fixture
async def keys() -> AsyncIterator[KeySetServer]:
    async with key_set_server() as server:
        server.keys = [OLD]
        yield server


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path, keys: KeySetServer) -> AsyncIterator[SmartBroker]:
    registration = {"client_id": "gateway", "scope": SCOPE, "jwks_uri": keys.url}
    (tmp_path / "gateway.json").write_text(json.dumps(registration))
    async with smart_broker(start_broker, tmp_path) as running:
        yield running


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def request_token(smart: SmartBroker, key: PrivateKey) -> httpx.Response:
    form = smart.form("gateway", SCOPE, client_assertion=smart.assertion("gateway", key=key))
    return await smart.client.post("/oauth/token", data=form)


async def test_a_key_is_rotated_without_a_refused_request(
    smart: SmartBroker, keys: KeySetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "REFETCH_S", 0.0)
    statuses = [(await request_token(smart, OLD)).status_code for _ in range(3)]
    assert len(keys.heads) == 1
    assert keys.heads[0]["Accept"] == "application/json"
    assert "Authorization" not in keys.heads[0]

    keys.keys = [OLD, NEW]
    statuses += [(await request_token(smart, key)).status_code for key in (OLD, NEW, OLD)]
    assert len(keys.heads) == 2
    keys.keys, keys.cache_control = [NEW], "no-store"
    statuses += [(await request_token(smart, key)).status_code for key in (NEW, OLD)]
    assert len(keys.heads) == 2  # the cached set has the old key until its time is over
    assert (await request_token(smart, PrivateKey.generate())).status_code == 400
    statuses += [(await request_token(smart, NEW)).status_code for _ in range(2)]
    assert len(keys.heads) == 5  # the last answer may not be kept
    assert statuses == [200] * len(statuses)
    refused = await request_token(smart, OLD)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


async def test_while_the_url_is_unavailable_cached_keys_work_and_others_are_told_to_retry(
    smart: SmartBroker, keys: KeySetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.status = 503
    refused = await request_token(smart, OLD)
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["Retry-After"] == "5"
    assert refused.headers["Cache-Control"] == "no-store"
    monkeypatch.setattr(key_sets, "RETRY_S", 3_600.0)  # on a slow machine five seconds pass in no time
    again = await request_token(smart, OLD)
    assert again.status_code == 503
    assert len(keys.heads) == 1


async def test_an_address_that_may_not_be_reached_is_refused_when_it_is_registered(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    for url in ("https://10.0.0.1/jwks", "https://169.254.169.254/jwks", "ftp://gateway.example/", "jwks"):
        registration = {"client_id": "gateway", "scope": SCOPE, "jwks_uri": url}
        (tmp_path / "gateway.json").write_text(json.dumps(registration))
        with pytest.raises(ConfigurationError, match=r"gateway\.json: jwks_uri: "):
            async with smart_broker(start_broker, tmp_path):
                pass


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 404, 500])
async def test_nothing_but_a_200_is_a_document_and_redirects_are_not_followed(
    keys: KeySetServer, status: int
) -> None:
    keys.status, keys.location = status, keys.url
    with DocumentClient(HERE) as documents, pytest.raises(NotFetched, match=str(status)):
        await documents.get(keys.url)
    assert len(keys.heads) == 1


async def test_a_document_has_a_limit_in_bytes_and_time(keys: KeySetServer) -> None:
    with DocumentClient(HERE) as documents:
        keys.text = "x" * MAX_BYTES
        assert len((await documents.get(keys.url)).body) == MAX_BYTES
        keys.text += "x"
        with pytest.raises(NotFetched, match=f"longer than {MAX_BYTES} bytes"):
            await documents.get(keys.url)
    async with listening(silent) as port:
        with DocumentClient(HERE, timeout_s=0.05) as documents, pytest.raises(NotFetched, match="within"):
            await documents.get(f"http://127.0.0.1:{port}/jwks")


async def test_a_document_whose_body_comes_slowly_is_whole() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await asyncio.sleep(1.5 * BODY_S)  # the endpoint's slowness is the case
        writer.write(b"67890")

    async with listening(slow) as port:
        with DocumentClient(HERE, timeout_s=60) as documents:
            assert (await documents.get(f"http://127.0.0.1:{port}/jwks")).body == b"1234567890"


async def test_a_name_is_judged_by_its_addresses(keys: KeySetServer) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    url = keys.url.replace("127.0.0.1", "gateway.example").replace("http://", "https://")
    other = Allowance((ip_network("192.0.2.0/24"),))
    with DocumentClient(other, resolve=resolve) as documents, pytest.raises(NotFetched, match="no address"):
        await documents.get(url)
    with DocumentClient(Allowance()) as documents, pytest.raises(NotFetched, match="https"):
        await documents.get("http://gateway.example/jwks")
    assert keys.heads == []
