"""`$try` and `fhir-broker topics try`: which of the last changes a topic fires on that is not stored."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture
from tests.integration.commands import run
from tests.integration.guarded_broker import NORMAL_OBSERVATIONS, GuardedBroker, guarded, observation
from tests.integration.operations_client import check_defined, groups, question, value
from tests.smart_clients import key_of, register

__all__ = ["guarded"]
CREATED = {
    "resourceType": "SubscriptionTopic",
    "id": "created",
    "url": "http://example.org/topics/created",
    "status": "active",
    "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create"]}],
}
DELETED = CREATED | {"resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["delete"]}]}
WRONG = CREATED | {"resourceTrigger": [{"resource": "Observations"}, {"resource": "Patients"}]}
TRY = "/r5/SubscriptionTopic/$try"


@pytest.mark.parametrize("release", list(Release))
async def test_a_topic_is_tried_as_each_release_has_it(
    broker_fixture: BrokerFixture, release: Release
) -> None:
    readings = await broker_fixture.send(2)
    path = "Basic" if release is Release.R4 else "SubscriptionTopic"
    topic = (await broker_fixture.client.get(f"/{release}/{path}/vital-signs")).json()
    response = await broker_fixture.client.post(f"/{release}/{path}/$try", json=question(topic=topic))
    assert response.status_code == 200, response.text
    answer = response.json()
    validate(release, "Parameters", Resource(response.content))
    check_defined("try", answer)
    assert value(answer, "topic").partition("|")[0] == VITAL_SIGNS
    assert value(answer, "replaces") == value(answer, "topic")
    assert (value(answer, "changes"), value(answer, "matched"), value(answer, "complete")) == (2, 2, True)
    results = [value(match, "reference") for match in groups(answer, "match")]
    assert sorted(results) == sorted(f"Observation/{reading}/_history/1" for reading in readings)


async def test_a_trial_stores_nothing(broker_fixture: BrokerFixture) -> None:
    await broker_fixture.send(3)
    tried = await broker_fixture.client.post(TRY, json=question(topic=CREATED, count=2))
    assert tried.status_code == 200, tried.text
    answer = tried.json()
    assert value(answer, "trigger") == "Observation is created"
    assert (value(answer, "changes"), value(answer, "matched"), value(answer, "complete")) == (2, 2, False)
    assert value(answer, "replaces") is None
    assert (await broker_fixture.client.get("/r5/SubscriptionTopic/created")).status_code == 404


async def test_a_trial_refuses_what_a_topic_is_refused_for(broker_fixture: BrokerFixture) -> None:
    stored = await broker_fixture.client.put("/r5/SubscriptionTopic/created", json=WRONG)
    tried = await broker_fixture.client.post(TRY, json=question(topic=WRONG))
    assert stored.status_code == tried.status_code == 422
    assert tried.json()["issue"] == stored.json()["issue"]
    assert len(tried.json()["issue"]) == 2
    for parameters in ({"topic": CREATED, "count": "0"}, {"count": "5"}, {"topic": "created"}):
        assert (await broker_fixture.client.post(TRY, json=question(**parameters))).status_code == 400
    no_topic = await broker_fixture.client.post(TRY, json=question(topic={"resourceType": "Patient"}))
    assert no_topic.status_code == 422


async def test_a_release_without_such_topics_names_where_they_are(broker_fixture: BrokerFixture) -> None:
    for path, place in (
        ("/r5/Basic/$try", "SubscriptionTopic/$try"),
        ("/r4/SubscriptionTopic/$try", "Basic?code=SubscriptionTopic"),
    ):
        refused = await broker_fixture.client.post(path, json=question(topic=CREATED))
        assert refused.status_code == 404
        assert place in refused.text


async def test_a_trial_shows_an_administrator_what_its_scopes_allow(
    start_broker: StartBroker, guarded: GuardedBroker
) -> None:
    scope = f"system/Observation.c {NORMAL_OBSERVATIONS}"
    register(guarded.clients_dir, "head", scope, roles=["admin"])
    async with guarded.started(start_broker, scope) as broker:
        await broker.put(observation("o1"))
        await broker.put(observation("o2", level="R"))
        assert (await broker.ward.post(TRY, json=question(topic=CREATED))).status_code == 403
        async with broker.smart.as_client("head", scope) as head:
            answer = (await head.post(TRY, json=question(topic=CREATED))).json()
        assert [value(match, "reference") for match in groups(answer, "match")] == [
            "Observation/o1/_history/1"
        ]


async def test_the_command_of_an_administrator_reads_changes_of_every_type(
    start_broker: StartBroker, guarded: GuardedBroker, tmp_path: Path
) -> None:
    file, key = tmp_path / "topic.json", tmp_path / "lab.pem"
    file.write_text(json.dumps(CREATED))
    key.write_bytes(key_of("lab").pem)
    async with guarded.started(start_broker, NORMAL_OBSERVATIONS) as broker:
        await broker.put(observation("o1"))
        options = ("--base", broker.smart.base_url, "--client-id", "lab", "--key", str(key))
        done = await asyncio.to_thread(run, "topics", "try", str(file), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It fires on 1 of the last 1 change." in done.stdout


async def test_the_command_shows_what_a_topic_fires_on(broker_fixture: BrokerFixture, tmp_path: Path) -> None:
    readings = await broker_fixture.send(2)
    base = str(broker_fixture.client.base_url)
    basic = (await broker_fixture.client.get("/r4/Basic/vital-signs")).json()

    async def command(topic: Any, *arguments: str, code: int = 0) -> str:
        file = tmp_path / "topic.json"
        file.write_text(topic if isinstance(topic, str) else json.dumps(topic))
        done = await asyncio.to_thread(run, "topics", "try", str(file), "--base", base, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code == 2 else done.stdout

    shown = await command(CREATED)
    assert "Observation is created" in shown
    assert "It fires on 2 of the last 2 changes." in shown
    plain = json.loads(await command(CREATED, "--count", "1", "--json"))
    assert (plain["changes"], plain["matched"], plain["complete"]) == (1, 1, False)
    assert plain["match"][0]["reference"] in {f"Observation/{reading}/_history/1" for reading in readings}
    assert (plain["trigger"], plain["warning"]) == (["Observation is created"], [])
    assert json.loads(await command(DELETED, "--json", code=1))["match"] == []
    assert "It fires on 2 of the last 2 changes." in await command(basic)
    refused = await command(WRONG, code=2)
    assert "Observations is no resource type" in refused
    assert "Patients" in refused
    for text in ("{", "[]", '{"resourceType": "Patient"}'):
        assert len((await command(text, code=2)).splitlines()) == 1
    gone = await asyncio.to_thread(run, "topics", "try", str(tmp_path / "gone.json"), "--base", base)
    assert (gone.returncode, len(gone.stderr.splitlines())) == (2, 1)
