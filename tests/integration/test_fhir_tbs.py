"""fhir-tbs, a foreign library for topic-based subscriptions, registers at the broker and is notified.

It registers before its server listens, so the handshake meets a refused connection first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web
from fhirpy import AsyncFHIRClient

from broker.app import Running
from broker.testing.readings import HEART_RATE, observation
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S
from tests.ports import free_port

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
_NOW = "2026-01-01T08:00:00Z"
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the .model_fields. attribute")  # fhir-tbs does

Handled = asyncio.Queue[str]
"""The reference of each focus, as fhir-tbs hands it to the application."""


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    """A broker that repeats a handshake until the application listens."""
    async with start_broker(handshake_grace=timedelta(seconds=WAIT_S)) as running:
        yield running


@contextlib.asynccontextmanager
async def application(
    broker: Running, release: str, port: int, *, content: str, token: str | None
) -> AsyncIterator[Handled]:
    """An application that fhir-tbs subscribes to the readings of the patient ana."""
    # it loads the models of two releases: seconds, for the process that runs these tests only
    from fhir_tbs import setup_tbs  # noqa: PLC0415
    from fhir_tbs.r4b import R4BTBS  # noqa: PLC0415
    from fhir_tbs.r5 import R5TBS  # noqa: PLC0415

    handled: Handled = asyncio.Queue()
    library = {"r4b": R4BTBS, "r5": R5TBS}[release](subscription_defaults={"payload_content": content})

    @library.define(  # type: ignore[untyped-decorator]  # a TypedDict of theirs is generic
        topic=VITAL_SIGNS,
        filter_by=[{"resource_type": "Observation", "filter_parameter": "patient", "value": "Patient/ana"}],
        webhook_id="readings",
    )
    async def handle(_app: web.Application, reference: str, _included: list[Any], _at: str | None) -> None:
        handled.put_nowait(reference)  # this release of fhir-tbs finds no resource by an absolute reference

    app = web.Application()
    client = AsyncFHIRClient(
        f"{broker.settings.base_url}/{release}",
        dump_resource=lambda resource: resource.model_dump(),
    )
    setup_tbs(
        app,
        library,
        webhook_path_prefix="webhook",
        webhook_token=token,
        manage_subscriptions=True,
        app_url=f"http://127.0.0.1:{port}",
        get_fhir_client=lambda _app: client,
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield handled
    finally:
        await runner.cleanup()


async def until_active(client: httpx.AsyncClient, release: str) -> str:
    """The id of the only active subscription, once there is one."""
    async with asyncio.timeout(WAIT_S):
        while True:
            bundle = (await client.get(f"/{release}/Subscription?status=active")).json()
            if bundle.get("entry"):
                return str(bundle["entry"][0]["resource"]["id"])
            await asyncio.sleep(0.05)


async def post_reading(client: httpx.AsyncClient, patient: str, value: int) -> str:
    response = await client.post("/r4/Observation", json=observation(HEART_RATE, patient, _NOW, value))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.parametrize("content", ["id-only", "full-resource"])
@pytest.mark.parametrize("release", ["r4b", "r5"])
async def test_fhir_tbs_handles_the_events_of_its_filter(
    broker: Running, client: httpx.AsyncClient, release: str, content: str
) -> None:
    async with application(broker, release, free_port(), content=content, token="s3cret") as handled:
        await until_active(client, release)
        await post_reading(client, "bob", 60)
        expected = await post_reading(client, "ana", 61)
        async with asyncio.timeout(WAIT_S):
            assert (await handled.get()).endswith(f"Observation/{expected}")


async def test_a_restarted_application_finds_its_subscription_again(
    broker: Running, client: httpx.AsyncClient
) -> None:
    """Without a token: fhir-tbs reads the token of a subscription that it finds back from the server, and the
    broker shows no header value.
    """
    port = free_port()
    async with application(broker, "r5", port, content="id-only", token=None):
        registered = await until_active(client, "r5")
    async with application(broker, "r5", port, content="id-only", token=None) as handled:
        assert await until_active(client, "r5") == registered
        await post_reading(client, "ana", 62)
        async with asyncio.timeout(WAIT_S):
            await handled.get()
    bundle = (await client.get("/r5/Subscription")).json()
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == [registered]
