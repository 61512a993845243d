"""A broker without access control answers nothing to web pages in a browser on the same machine."""

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from broker.app import Running
from tests.conftest import StartBroker

REBOUND = {"Host": "evil.example:8080"}
ACROSS = {"Origin": "https://evil.example"}


@pytest.mark.parametrize(
    "headers",
    [REBOUND, ACROSS, {"Origin": "null"}, {"Origin": "http://127.0.0.1.evil.example"}, {"Host": "[::1"}],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/r4/Patient/ana"),
        ("GET", "/r4/metadata"),
        ("POST", "/r4/$discard-dead-letters?kind=changes"),
        ("DELETE", "/r4/Subscription/ward"),
        ("GET", "/metrics"),
        ("OPTIONS", "/r4"),
    ],
)
async def test_a_web_page_is_refused_whatever_it_asks(
    client: httpx.AsyncClient, headers: dict[str, str], method: str, path: str
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.status_code == 403
    assert "BROKER_BASE_URL" in response.text or "BROKER_CORS_ORIGINS" in response.text


@pytest.mark.parametrize("headers", [REBOUND, ACROSS], ids=str)
async def test_a_websocket_of_a_web_page_is_refused(broker: Running, headers: dict[str, str]) -> None:
    url = broker.settings.base_url.replace("http", "ws") + "/ws"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers=headers, proxy=None)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:9"},
        {"Host": "[::1]"},
        {"Host": "app.localhost"},
        {"Origin": "http://localhost:3000"},
    ],
    ids=str,
)
async def test_this_machine_is_answered(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.get("/r4/metadata", headers=headers)).status_code == 200


async def test_the_name_of_the_base_url_and_allowed_origins_are_answered(start_broker: StartBroker) -> None:
    settings = {"base_url": "https://Broker.Example/fhir", "cors_origins": ("https://app.example",)}
    async with (
        start_broker(**settings) as running,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{running.settings.port}", timeout=60, trust_env=False
        ) as client,
    ):
        for headers in ({"Host": "broker.example"}, {"Origin": "https://app.example"}):
            assert (await client.get("/r4/metadata", headers=headers)).status_code == 200, headers
        assert (await client.get("/r4/metadata", headers=REBOUND)).status_code == 403


async def test_an_open_broker_that_something_else_protects_compares_no_names(
    start_broker: StartBroker,
) -> None:
    async with (
        start_broker(allow_open=True) as running,
        httpx.AsyncClient(base_url=running.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        assert (await client.get("/r4/metadata", headers=REBOUND)).status_code == 200
