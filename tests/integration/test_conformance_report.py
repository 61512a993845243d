"""`fhir-broker conformance-report` over resources that a running broker stores."""

import asyncio
import copy
import json
from pathlib import Path

import httpx
import orjson
import pytest
import typer

from broker.cli.conformance_report import conformance_report
from broker.errors import ConfigurationError
from broker.model.release import Release
from broker.services.conformance import ReportFormat
from broker.settings import Settings
from tests.conftest import StartBroker
from tests.integration.commands import run
from tests.unit.profiles.examples import examples, resource_of


async def report(base: str, output: Path, *references: str) -> tuple[int, dict[str, object]]:
    """The exit code and the report."""

    def run() -> tuple[int, dict[str, object]]:
        with pytest.raises(typer.Exit) as exit_:
            conformance_report(list(references), None, None, Release.R4, ReportFormat.JSON, output, base)
        return exit_.value.exit_code, json.loads(output.read_text())

    return await asyncio.to_thread(run)


async def test_stored_resources_are_reported_by_reference(start_broker: StartBroker, tmp_path: Path) -> None:
    good = orjson.loads(resource_of(examples()["heartrate"]).text) | {"id": "good"}
    bad = copy.deepcopy(good) | {"id": "bad"}
    bad["valueQuantity"]["code"] = "bpm"
    output = tmp_path / "report.json"
    async with start_broker(profile_policy="off") as broker:
        base = broker.settings.base_url
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            for each in (good, bad):
                response = await client.put(f"/r4/Observation/{each['id']}", json=each)
                assert response.status_code == 201, response.text
        code, found = await report(base, output, "Observation/good")
        assert (code, found["resources"], found["conformant"]) == (0, 1, 1)
        code, found = await report(base, output, "Observation/good", "Observation/bad")
        assert (code, found["resources"], found["conformant"]) == (1, 2, 1)
        assert "Observation.valueQuantity.code" in json.dumps(found)
        with pytest.raises(ConfigurationError, match="404"):
            await asyncio.to_thread(
                conformance_report,
                ["Observation/none"], None, None, Release.R4, ReportFormat.JSON, output, base,
            )  # fmt: skip


async def test_all_stored_resources_of_a_type_are_reported(
    start_broker: StartBroker, settings: Settings, tmp_path: Path
) -> None:
    good = orjson.loads(resource_of(examples()["heartrate"]).text)
    output = tmp_path / "report.json"
    async with start_broker(profile_policy="off") as broker:
        base = broker.settings.base_url
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            for n in range(3):
                document = copy.deepcopy(good) | {"id": f"n{n}"}
                document["valueQuantity"]["code"] = "bpm" if n == 2 else "/min"
                response = await client.put(f"/r4/Observation/n{n}", json=document)
                assert response.status_code == 201, response.text
            newer = {"resourceType": "Observation", "id": "r5", "status": "final", "code": {"text": "x"}}
            assert (await client.put("/r5/Observation/r5", json=newer)).status_code == 201
        done = await asyncio.to_thread(
            run, "conformance-report", "--all", "Observation", "--format", "json", "--output", str(output),
            redis_url=str(settings.redis_url), key_ring=str(settings.key_ring),
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = json.loads(output.read_text())
    assert (found["resources"], found["conformant"]) == (3, 2)
    assert {problem["resource"] for problem in found["problems"]} == {"Observation/n2"}
    assert "Left out: 1 stored resource of other releases" in done.stderr
    unknown = await asyncio.to_thread(run, "conformance-report", "--all", "Teapot")
    assert unknown.returncode == 2
    assert "Teapot is not a resource type" in unknown.stderr
