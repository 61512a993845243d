"""BROKER_PROFILE_POLICY by every way in: HTTP, batch, transaction, inbox, `$validate`; and by producer."""

import contextlib
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from broker.app import Running
from broker.profiles.vital_signs import HL7, US_CORE
from broker.store.protocol import Store
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.smart_broker import smart_broker
from tests.integration.test_inbox import put, refusals, until_empty
from tests.smart_clients import register
from tests.unit.profiles.catalogs import definition
from tests.unit.profiles.examples import examples, resource_of

GOOD = orjson.loads(resource_of(examples()["heartrate"]).text)
BAD: dict[str, Any] = copy.deepcopy(GOOD)
BAD["valueQuantity"]["code"] = "bpm"
CODE = "Observation.valueQuantity.code"
PREFER = {"Prefer": "return=OperationOutcome"}


def expressions(outcome: dict[str, Any], severity: str) -> list[str]:
    return [
        path
        for each in outcome["issue"]
        if each["severity"] == severity
        for path in each.get("expression", [])
    ]


def bundle(kind: str, *resources: dict[str, Any]) -> bytes:
    entries = [{"request": {"method": "POST", "url": "Observation"}, "resource": each} for each in resources]
    return orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})


@contextlib.asynccontextmanager
async def client_of(broker: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=broker.settings.base_url,
        headers={"Content-Type": "application/fhir+json"},
        timeout=30,
        trust_env=False,
    ) as client:
        yield client


async def test_reject_refuses_by_every_way_in(start_broker: StartBroker, store: Store) -> None:
    async with start_broker(profile_policy="reject") as broker, client_of(broker) as client:
        response = await client.post("/r4/Observation", content=orjson.dumps(BAD))
        assert response.status_code == 422
        assert expressions(response.json(), "error") == [CODE]
        response = await client.put("/r4/Observation/hr", content=orjson.dumps(BAD | {"id": "hr"}))
        assert response.status_code == 422
        assert (await client.post("/r4/Observation", content=orjson.dumps(GOOD))).status_code == 201
        entries = (await client.post("/r4", content=bundle("batch", GOOD, BAD))).json()["entry"]
        assert [each["response"]["status"][:3] for each in entries] == ["201", "422"]
        response = await client.post("/r4", content=bundle("transaction", GOOD, BAD))
        assert response.status_code == 422
        assert CODE in response.text
        await put(store, resource=orjson.dumps(BAD).decode(), release="r4")
        await until_empty(store)
        (refused,) = await refusals(store)
        assert CODE in refused["outcome"]


async def test_warn_accepts_with_warnings_and_off_says_nothing(start_broker: StartBroker) -> None:
    async with start_broker(profile_policy="warn") as broker, client_of(broker) as client:
        response = await client.post("/r4/Observation", content=orjson.dumps(BAD), headers=PREFER)
        assert response.status_code == 201
        assert expressions(response.json(), "warning") == [CODE]
        assert expressions(response.json(), "error") == []
        response = await client.post("/r4/Observation/$validate", content=orjson.dumps(BAD))
        assert expressions(response.json(), "warning") == [CODE]
    async with start_broker() as broker, client_of(broker) as client:
        response = await client.post("/r4/Observation", content=orjson.dumps(BAD), headers=PREFER)
        assert (response.status_code, expressions(response.json(), "warning")) == (201, [])


async def test_validate_asks_for_any_known_profile_whatever_the_policy(start_broker: StartBroker) -> None:
    async with start_broker() as broker, client_of(broker) as client:
        for profile, resource, paths in (
            (f"{HL7}heartrate", BAD, [CODE]),
            (f"{HL7}heartrate", GOOD, []),
            (f"{HL7}heartrate|4.0.1", BAD, [CODE]),
            (f"{US_CORE}us-core-vital-signs", BAD, [CODE]),  # by the code, it is a heart rate
            (f"{HL7}bodytemp", GOOD, ["Observation.code.coding", "Observation.valueQuantity.code"]),
        ):
            for path in ("Observation/$validate", "Observation/hr/$validate"):
                for mode in ("", "&mode=profile", "&mode=create" if "hr" not in path else "&mode=update"):
                    body = orjson.dumps(resource | {"id": "hr"} if "hr" in path else resource)
                    response = await client.post(f"/r4/{path}?profile={profile}{mode}", content=body)
                    assert response.status_code == 200
                    assert expressions(response.json(), "error") == paths, (profile, path, mode)
        response = await client.post(
            f"/r4/Observation/$validate?profile={HL7}bmi2", content=orjson.dumps(GOOD)
        )
        assert response.status_code == 422
        response = await client.post(
            f"/r4/Device/$validate?profile={HL7}bmi", content=b'{"resourceType":"Device"}'
        )
        assert response.status_code == 422


async def test_a_producer_may_have_a_policy_of_its_own(
    start_broker: StartBroker, tmp_path: Path, store: Store
) -> None:
    for client_id in ("gateway", "archive"):
        register(tmp_path, client_id, "system/*.cruds")
    policies = (("gateway", "reject"), ("fhir:inbox", "reject"))
    async with smart_broker(start_broker, tmp_path, profile_policies=policies) as smart:
        statuses = []
        for client_id in ("gateway", "archive"):
            async with smart.as_client(client_id, "system/*.cruds") as client:
                response = await client.post("/r4/Observation", content=orjson.dumps(BAD))
                statuses.append(response.status_code)
                response = await client.post("/r4", content=bundle("batch", BAD))
                statuses.append(int(response.json()["entry"][0]["response"]["status"][:3]))
        assert statuses == [422, 422, 201, 201]
        await put(store, resource=orjson.dumps(BAD).decode(), release="r4")
        await until_empty(store)
        assert len(await refusals(store)) == 1


async def test_profiles_of_a_folder_are_used_and_read_again(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    url = "http://example.org/StructureDefinition/seated-heart-rate"
    seated = definition(
        url,
        f"{HL7}heartrate",
        {"id": "Observation.bodySite", "path": "Observation.bodySite", "min": 1},
    )
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "seated.json").write_bytes(orjson.dumps(seated))
    resource = GOOD | {"meta": {"profile": [url]}}
    async with (
        start_broker(profile_policy="reject", profiles_dir=tmp_path / "profiles") as broker,
        client_of(broker) as client,
    ):
        response = await client.post("/r4/Observation", content=orjson.dumps(resource))
        assert (response.status_code, expressions(response.json(), "error")) == (
            422,
            ["Observation.bodySite"],
        )
        resource |= {"bodySite": {"text": "wrist"}}
        assert (await client.post("/r4/Observation", content=orjson.dumps(resource))).status_code == 201

        async def is_refused() -> bool:
            response = await client.post("/r4/Observation", content=orjson.dumps(resource))
            return response.status_code == 422 and "Observation.method" in response.text

        seated["differential"]["element"][0] = {
            "id": "Observation.method",
            "path": "Observation.method",
            "min": 1,
        }
        (tmp_path / "profiles" / "seated.json").write_bytes(orjson.dumps(seated))
        await broker.reload()
        await until(is_refused)
