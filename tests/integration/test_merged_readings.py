"""Readings of an hour, a day or a session become one Observation, in whatever payloads they come."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture
from tests.integration.merging_strap import MERGING, payload, pulse
from tests.integration.reading_fixture import dead_letters, send, stored
from tests.ports import free_port


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> Any:
    (tmp_path / "strap.yaml").write_text(MERGING)
    async with start_broker(mappings_dir=tmp_path) as running:
        yield running


def tokens(observation: dict[str, Any]) -> dict[int, str]:
    """The samples by their minutes."""
    data = observation["valueSampledData"]["data"].split(" ")
    assert len(data) == 60
    return {minute: token for minute, token in enumerate(data) if token != "E"}


async def test_the_samples_of_an_hour_are_one_observation_and_a_batch_of_them_one_version(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    fixture = BrokerFixture(client, subscriber)
    batch = await send(client, payload(*(pulse(minute, 60 + minute) for minute in range(0, 20, 2))))
    assert batch.status_code == 201, batch.text
    rows = batch.json()["observations"]
    assert {(row["status"], row["version"]) for row in rows} == {("accepted", "1")}
    assert len({row["reference"] for row in rows}) == 1
    await fixture.subscribe("a")
    late = await send(client, payload(pulse(5, 99, second=30)))
    observation = await stored(client, late)
    assert (observation["status"], observation["meta"]["versionId"]) == ("amended", "2")
    assert tokens(observation) == {minute: str(60 + minute) for minute in range(0, 20, 2)} | {5: "99"}
    assert observation["effectivePeriod"] == {
        "start": "2026-03-02T08:00:00Z", "end": "2026-03-02T08:59:59.999999Z",
    }  # fmt: skip
    again = await send(client, payload(pulse(5, 99, second=30), pulse(4, 64)))
    assert [row["status"] for row in again.json()["observations"]] == ["duplicate"] * 2
    assert [row["version"] for row in again.json()["observations"]] == ["2", "2"]
    following = await send(client, payload({"at": "2026-03-02T09:00:00Z", "hr": 70}))
    assert following.json()["observations"][0]["reference"] != rows[0]["reference"]
    await fixture.until_numbers("a", 2)


async def test_a_contradicting_sample_is_quarantined_alone_and_a_correction_is_taken(
    broker: Running, client: httpx.AsyncClient
) -> None:
    await send(client, payload(pulse(1, 61)))
    mixed = await send(client, payload(pulse(1, 99)), payload(pulse(2, 62)))
    assert [row["status"] for row in mixed.json()["results"]] == ["quarantined", "accepted"]
    (letter,) = await dead_letters(client, kind="reading")
    assert letter["reason"].startswith("conflict: ")
    corrected = await stored(client, await send(client, payload(pulse(1, 99, correction="corrected"))))
    assert (corrected["status"], tokens(corrected)) == ("corrected", {1: "99", 2: "62"})
    withdrawn = await send(client, payload(pulse(2, 62, correction="entered-in-error")))
    assert withdrawn.json()["problems"][0]["code"] == "not-supported"


async def test_of_the_values_of_a_day_the_one_measured_last_counts(
    broker: Running, client: httpx.AsyncClient
) -> None:
    def weight(hour: int, kg: float) -> dict[str, Any]:
        return payload({"at": f"2026-03-02T{hour:02}:00:00+01:00", "kg": kg})

    first = await stored(client, await send(client, weight(20, 80.5)))
    assert first["effectivePeriod"]["start"] == "2026-03-02T00:00:00Z"
    response = await send(client, weight(7, 81))
    assert response.json()["observations"][0]["status"] == "duplicate"
    latest = await stored(client, await send(client, weight(21, 80.4)))
    assert (latest["id"], latest["valueQuantity"]["value"]) == (first["id"], 80.4)
    other_day = await stored(
        client, await send(client, payload({"at": "2026-03-03T00:30:00+01:00", "kg": 80}))
    )
    assert other_day["id"] == first["id"], "it is the same day in UTC"


async def test_components_of_a_session_come_in_payloads_of_their_own(
    broker: Running, client: httpx.AsyncClient
) -> None:
    at = "2026-03-02T08:00:0{}Z"
    systolic = {"at": at.format(1), "session": "x", "sys": 120}
    first = await stored(client, await send(client, payload(systolic)))
    assert [sorted(each) for each in first["component"]][1] == ["code", "dataAbsentReason"]
    second = await stored(
        client, await send(client, payload({"at": at.format(3), "session": "x", "dia": 80}))
    )
    assert second["id"] == first["id"]
    assert [each["valueQuantity"]["value"] for each in second["component"]] == [120, 80]
    assert second["effectivePeriod"] == {"start": at.format(1), "end": at.format(3)}
    other = await stored(client, await send(client, payload(systolic | {"session": "y"})))
    assert other["id"] != first["id"]
    missing = await send(client, payload({"at": at.format(1), "sys": 120}))
    assert missing.json()["problems"][0]["reason"] == "missing-field"


async def test_brokers_that_merge_into_one_observation_at_once_lose_no_sample(
    broker: Running, client: httpx.AsyncClient, start_broker: StartBroker, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        start_broker(mappings_dir=tmp_path, port=port, base_url=broker.settings.base_url),
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as second,
    ):
        both = (client, second)
        answers = await asyncio.gather(
            *(send(both[minute % 2], payload(pulse(minute, 60 + minute))) for minute in range(40))
        )
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    observation = await stored(client, answers[0])
    assert tokens(observation) == {minute: str(60 + minute) for minute in range(40)}
