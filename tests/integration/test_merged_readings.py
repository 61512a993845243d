"""Readings of an hour, a day or a session become one Observation, in whatever payloads they come."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until_matched
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
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber, store: Store
) -> None:
    fixture = BrokerFixture(client, subscriber)
    batch = await send(client, payload(*(pulse(minute, 60 + minute) for minute in range(0, 20, 2))))
    assert batch.status_code == 201, batch.text
    rows = batch.json()["observations"]
    assert {(row["status"], row["version"]) for row in rows} == {("accepted", "1")}
    assert len({row["reference"] for row in rows}) == 1
    await until_matched(store)
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


async def test_a_withdrawn_sample_leaves_the_observation_and_the_last_one_takes_it_along(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    fixture = BrokerFixture(client, subscriber)
    await fixture.subscribe("a")
    await send(client, payload(pulse(1, 61), pulse(2, 62)))
    first, second = (payload(pulse(n, 60 + n, correction="entered-in-error")) for n in (1, 2))
    left = await stored(client, await send(client, first))
    assert (left["status"], left["meta"]["versionId"], tokens(left)) == ("corrected", "2", {2: "62"})
    for again in (first, payload(pulse(1, 61))):
        response = await send(client, again)
        assert (response.status_code, response.json()["status"]) == (200, "duplicate")
    in_error = await stored(client, await send(client, second))
    assert (in_error["status"], in_error["meta"]["versionId"]) == ("entered-in-error", "3")
    assert (await send(client, payload(pulse(2, 62)))).json()["status"] == "duplicate"
    later = await stored(client, await send(client, payload(pulse(3, 63))))
    assert (later["status"], later["meta"]["versionId"], tokens(later)) == ("corrected", "4", {3: "63"})
    await fixture.until_numbers("a", 4)


async def test_a_withdrawal_that_comes_before_its_reading_holds(
    broker: Running, client: httpx.AsyncClient
) -> None:
    withdrawal = payload(pulse(1, 61, correction="entered-in-error"))
    in_error = await stored(client, await send(client, withdrawal))
    assert in_error["status"] == "entered-in-error"
    batch = await send(client, payload(pulse(1, 61), pulse(2, 62)))
    assert [row["status"] for row in batch.json()["observations"]] == ["duplicate", "accepted"]
    observation = await stored(client, await send(client, payload(pulse(2, 62))))
    assert (observation["id"], tokens(observation)) == (in_error["id"], {2: "62"})


async def test_a_withdrawn_component_that_the_profile_demands_has_the_reason_why_there_is_none(
    broker: Running, client: httpx.AsyncClient
) -> None:
    systolic, diastolic = (
        {"at": f"2026-03-02T08:00:0{second}Z", "session": "x", name: value}
        for second, name, value in ((1, "sys", 120), (3, "dia", 80))
    )
    await send(client, payload(systolic, diastolic))
    left = await stored(client, await send(client, payload(systolic | {"correction": "entered-in-error"})))
    assert (left["status"], left["effectivePeriod"]["start"]) == ("corrected", "2026-03-02T08:00:03Z")
    first, second = left["component"]
    assert first["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert second["valueQuantity"]["value"] == 80
    profile = "http://hl7.org/fhir/StructureDefinition/bp"
    judged = await client.post(
        f"/r4/Observation/{left['id']}/$validate", params={"mode": "profile", "profile": profile}
    )
    assert "error" not in {issue["severity"] for issue in judged.json()["issue"]}, judged.text


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
