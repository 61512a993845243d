"""Quarantined readings as dead letters: listed, shown, redriven after the mapping was fixed, discarded; and
readings in the inbox stream.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.mapping.reading import IdentityPolicy
from broker.store.protocol import Store
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.reading_fixture import NOW, PayloadsOfTests, add_patient, dead_letters, send, stored
from tests.integration.test_inbox import put, refusals, until_empty


@pytest.fixture
def mapper() -> PayloadsOfTests:
    return PayloadsOfTests()


@pytest.fixture
async def broker(start_broker: StartBroker, mapper: PayloadsOfTests) -> AsyncIterator[Running]:
    async with start_broker(mapper=lambda: mapper) as running:
        yield running


def temperature(seq: int) -> dict[str, Any]:
    return {"device": "d1", "patient": "ana", "temp": 37, "at": NOW, "seq": seq}


async def operate(client: httpx.AsyncClient, operation: str, **values: Any) -> dict[str, Any]:
    response = await client.post(f"/r4/${operation}", params=values)
    assert response.status_code == 200, response.text
    named = {}
    for part in response.json()["parameter"]:
        named[part["name"]] = part.get("valueInteger", part.get("part"))
    return named


async def test_readings_are_redriven_after_the_mapping_was_fixed(
    client: httpx.AsyncClient, mapper: PayloadsOfTests
) -> None:
    await add_patient(client, "ana")
    await send(client, *(temperature(seq) for seq in range(4)), temperature(9) | {"hr": -1})
    listed = await dead_letters(client, kind="reading")
    assert [letter["reason"].partition(":")[0] for letter in listed] == [
        *["no-mapping"] * 4,
        "impossible-value",
    ]
    first, second = listed[0]["id"], listed[1]["id"]
    (shown,) = await dead_letters(client, id=first)
    fields = {field["name"]: field.get("value") for field in shown["field"]}
    assert json.loads(fields["content"])["temp"] == 37
    assert (fields["mapping"], fields["field"], fields["format"]) == ("test", "value", "json")
    report = await operate(client, "redrive-dead-letters", id=first)
    assert (report["redriven"], report["refused"]) == (0, 1), "the mapping is not fixed yet"
    assert len(await dead_letters(client)) == 5
    mapper.known.add("temp")
    assert (await operate(client, "redrive-dead-letters", id=first))["redriven"] == 1
    assert (await operate(client, "redrive-dead-letters", reason="no-mapping"))["redriven"] == 3
    again = await send(client, temperature(1))
    assert again.json()["status"] == "duplicate"
    assert (await stored(client, again))["effectiveDateTime"] == NOW
    assert second not in [letter["id"] for letter in await dead_letters(client)]
    assert (await operate(client, "discard-dead-letters", all="true"))["discarded"] == 1
    assert await dead_letters(client) == []
    text = (await client.get("/metrics")).text
    for line in (
        'broker_dead_letters{kind="reading"} 0.0',
        'broker_dead_letters_created_total{kind="reading"} 5.0',
        'broker_dead_letters_settled_total{kind="reading",result="redriven"} 4.0',
        'broker_dead_letters_settled_total{kind="reading",result="discarded"} 1.0',
    ):
        assert line in text, text


async def test_a_payload_of_several_readings_is_stored_as_far_as_it_goes(
    client: httpx.AsyncClient, mapper: PayloadsOfTests
) -> None:
    await add_patient(client, "ana")
    payload = {"device": "d1", "patient": "ana", "at": NOW, "readings": [{"hr": 70}, {"temp": 37}]}
    response = await send(client, payload)
    assert response.status_code == 202
    document = response.json()
    assert [row["status"] for row in document["observations"]] == ["accepted"]
    assert document["problems"][0]["place"] == "readings[1]"
    mapper.known.add("temp")
    report = await operate(client, "redrive-dead-letters", id=document["deadLetter"])
    assert report["redriven"] == 1
    again = (await send(client, payload)).json()
    assert [row["status"] for row in again["observations"]] == ["duplicate", "duplicate"]


async def test_a_reading_that_fails_for_another_reason_gets_another_dead_letter(
    client: httpx.AsyncClient, mapper: PayloadsOfTests
) -> None:
    response = await send(client, temperature(1))
    mapper.known.add("temp")
    report = await operate(client, "redrive-dead-letters", id=response.json()["deadLetter"])
    assert report["refused"] == 1
    (letter,) = await dead_letters(client)
    assert letter["reason"].startswith("unknown-patient")
    await add_patient(client, "ana")

    async def is_stored() -> bool:
        return not await dead_letters(client)

    await until(is_stored)


async def test_no_value_of_a_reading_is_in_the_log(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = {"device": "secret-device", "patient": "secret-patient", "hr": 91919191, "at": NOW}
    await send(client, payload, payload | {"broken": "secret-key"}, payload | {"hr": 88})
    await client.post(
        "/readings", content=b'{"secret": tru', headers={"Content-Type": "application/x-ndjson"}
    )
    output = "".join(capsys.readouterr())
    assert "reading quarantined" in output
    assert "secret" not in output
    assert "91919191" not in output


async def test_readings_in_the_inbox_stream(
    client: httpx.AsyncClient, store: Store, mapper: PayloadsOfTests
) -> None:
    await add_patient(client, "ana")
    heart_rate = {"device": "d1", "patient": "ana", "hr": 70, "at": NOW}
    await asyncio.gather(
        put(store, reading=json.dumps(heart_rate)),
        put(store, reading=json.dumps([heart_rate, heart_rate | {"seq": 1}])),
        put(store, reading=f"device,patient,hr,at\nd1,ana,70,{NOW}\n", format="csv"),
        put(store, reading="{", key="k"),
        put(store, reading=json.dumps(heart_rate), unit="C"),
        put(store, reading=json.dumps(heart_rate), format="xml"),
    )
    await until_empty(store)
    assert (await send(client, heart_rate | {"seq": 1})).json()["status"] == "duplicate"
    assert len(await dead_letters(client, kind="reading")) == 2, "the CSV, and what is no JSON"
    reasons = [refused["reason"] for refused in await refusals(store)]
    assert len(reasons) == 2
    assert any("unit" in reason for reason in reasons)
    assert any("format" in reason for reason in reasons)


async def test_a_reading_in_the_inbox_stream_that_the_policy_refuses_is_quarantined(
    client: httpx.AsyncClient, store: Store, mapper: PayloadsOfTests
) -> None:
    await add_patient(client, "ana")
    mapper.patients = IdentityPolicy.REFUSE
    await put(store, reading=json.dumps({"device": "d1", "patient": "ana", "hr": 70, "at": NOW}))
    await until_empty(store)
    (letter,) = await dead_letters(client, kind="reading")
    assert letter["reason"].startswith("refused-identity: ")
    refused = await operate(client, "redrive-dead-letters", id=letter["id"])
    assert refused["refused"] == 1, "the policy is the same"
    mapper.patients = None
    redriven = await operate(client, "redrive-dead-letters", id=letter["id"])
    assert redriven["redriven"] == 1
    assert await dead_letters(client) == []


PANEL = {"device": "d1", "patient": "ana", "at": NOW, "panel": True, "readings": [{"hr": 71}, {"spo2": 97}]}


async def test_a_panel_waits_for_a_member_that_is_refused_when_it_is_written(
    client: httpx.AsyncClient,
) -> None:
    await add_patient(client, "ana")
    heart_rate = {"device": "d1", "patient": "ana", "at": NOW, "hr": 70}
    assert (await send(client, heart_rate)).json()["status"] == "accepted"
    refused = (await send(client, PANEL)).json()
    assert [problem["reason"] for problem in refused["problems"]] == ["conflict", "member-missing"]
    assert refused["problems"][1]["field"] == "panel"
    assert [row["status"] for row in refused["observations"]] == ["accepted"], "the other member"
    assert (await operate(client, "redrive-dead-letters", id=refused["deadLetter"]))["refused"] == 1
    corrected = await send(client, heart_rate | {"hr": 71, "correction": "corrected"})
    assert corrected.json()["status"] == "accepted"
    assert (await operate(client, "redrive-dead-letters", id=refused["deadLetter"]))["redriven"] == 1
    rows = (await send(client, PANEL)).json()["observations"]
    assert [row["status"] for row in rows] == ["duplicate"] * 3
    panel, *members = [row["reference"] for row in rows]
    document = (await client.get(f"/r4/{panel}")).json()
    assert [member["reference"] for member in document["hasMember"]] == members


async def test_a_panel_waits_for_a_member_that_meets_no_profile(
    start_broker: StartBroker, mapper: PayloadsOfTests
) -> None:
    async with (
        start_broker(mapper=lambda: mapper, profile_policy="reject") as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as client,
    ):
        await add_patient(client, "ana")
        document = (await send(client, PANEL)).json()
        assert document["status"] == "quarantined"
        reasons = {problem["reason"] for problem in document["problems"]}
        assert reasons == {"not-accepted", "member-missing"}, "the unit of the saturation is wrong"
        assert [row["status"] for row in document["observations"]] == ["accepted"]
