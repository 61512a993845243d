"""What the tester of mappings says of a payload is what `POST /readings` then does with it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.app import Running, running
from broker.mapping.examples import example, example_names
from broker.settings import Settings
from tests.conftest import LOOPBACK
from tests.integration.console_client import ConsoleClient, console_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}
_TRIED = re.compile(r"Observation \d+ \(mapping [\w-]+\): would be (created|merged)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Readings create their patients, and may have any time."""
    folder: Path = tmp_path_factory.mktemp("trials")
    settings = Settings(
        port=0,
        data_dir=folder / "data",
        egress_allow=LOOPBACK,
        partitions=4,
        shards=4,
        reading_patients="create",
        reading_clock="flag",
    )
    async with running(settings) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def console(broker: Running) -> AsyncIterator[ConsoleClient]:
    async with console_of(broker.settings.base_url) as started:
        yield started


async def test_each_shipped_example_becomes_what_the_trial_said(console: ConsoleClient) -> None:
    for name in example_names():
        payload = example(name)
        form = {"payload": payload.decode(), "format": "json"}
        tried = (await console.send("/readings", "/readings/try", **form)).text
        assert "It would be accepted" in tried, (name, tried)
        response = await console.client.post("/readings", content=payload, headers=JSON)
        assert response.status_code in {200, 201}, (name, response.text)
        stored = {each["reference"] for each in response.json()["observations"]}
        effects = _TRIED.findall(tried)
        assert len(effects) >= len(stored), (name, tried)
        if "merged" in effects:
            continue
        assert len(effects) == len(stored), (name, tried)
        again = (await console.send("/readings", "/readings/try", **form)).text
        # a payload without a time of its own is another reading each time
        repeated = await console.client.post("/readings", content=payload, headers=JSON)
        duplicates = len(stored) if repeated.status_code == 200 else 0
        assert again.count("is stored already: nothing would be written") == duplicates, (name, again)
        if duplicates:
            assert all(f'"id": "{each.partition("/")[2]}"' in again for each in stored), (name, again)
