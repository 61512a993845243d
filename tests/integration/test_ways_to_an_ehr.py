"""One reading of each row of the specification of vital signs on each way to an EHR, through a kill of every
process in between, the EHRs included: each EHR has the same resources as the broker.

A: the broker writes them (`fhir-write`). B: the EHR pulls them by searches. C: a subscriber gets them
(`rest-hook`) and writes them.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import load_mappings
from broker.mapping.payloads import parse_payload
from broker.testing.ehr import SimulatedEhr
from broker.testing.ehr_faults import LoseAnswer, LoseRequest, Refuse
from broker.testing.registration import register_subscription, subscription
from tests.integration.broker_fixture import until
from tests.integration.commands import REPOSITORY, Command, environment
from tests.integration.fhir_write_fixture import write_subscription
from tests.ports import free_port

DEVICE_READINGS = "http://fhir-broker.org/topics/device-reading"
ROWS = {
    "V-01": "8867-4",
    "V-02": "40443-4",
    "V-03": "85354-9",
    "V-03a": "8480-6",
    "V-03b": "8462-4",
    "V-03c": "150023",
    "V-04": "2708-6",
    "V-05": "9279-1",
    "V-06": "8310-5",
    "V-07": "29463-7",
    "V-08": "8302-2",
    "V-09": "39156-5",
    "V-10": "41653-7",
    "V-11": "99504-3",
    "V-12": "105272-9",
    "V-13": "107931-8",
    "V-14": "131328",
    "V-15": "80404-7",
    "V-16": "55423-8",
    "V-17": "55424-6",
    "V-18": "93832-4",
}
"""A code of each row."""
OWN_SYSTEM = "urn:broker"
"""Of the identifiers that the broker adds to what it writes."""
TARGET = """
[[target]]
name = "ehr"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device", "DeviceMetric", "Observation"]
creates = ["Patient", "Device", "DeviceMetric"]
identifier_system = "{system}"
"""
Document = Mapping[str, Any]
By = Mapping[str, Document]
"""Resources by `Type/id`."""


def observation_count() -> int:
    """How many Observations the examples of the shipped mappings are."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    mappings = load_mappings(None)
    return sum(len(mappings.map(parse_payload(example(name)), now)) for name in example_names())


async def send(client: httpx.AsyncClient, names: list[str]) -> None:
    for name in names:
        response = await client.post(
            "/readings", content=example(name), headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 201, (name, response.text)


def bridge(name: str, folder: Path, *arguments: str) -> Command:
    """A program of an integrator."""
    command = [sys.executable, "-m", f"tests.integration.{name}", str(folder), *arguments]
    return Command(command, folder / f"{name}.log", environment(), REPOSITORY)


async def subscribe(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """Registers a Subscription and waits until it is active."""
    registered = await register_subscription(client, "/r4", document)

    async def is_active() -> bool:
        url = f"/r4/Subscription/{registered['id']}"
        return bool((await client.get(url)).json()["status"] == "active")

    await until(is_active)


def comparable(resources: By) -> list[str]:
    """The Observations without ids and versions, which are a server's own; references are by identifier."""
    return sorted(
        json.dumps(_plain(document, resources), sort_keys=True)
        for name, document in resources.items()
        if name.startswith("Observation/")
    )


def _plain(value: Any, resources: By, *, is_root: bool = True) -> Any:
    if isinstance(value, list):
        return [_plain(each, resources, is_root=False) for each in value]
    if not isinstance(value, Mapping):
        return value
    if "reference" in value:
        target = resources["/".join(value["reference"].split("/")[-2:])]
        return [target["resourceType"], _own_identifiers(target)]
    left = {name: part for name, part in value.items() if not (is_root and name in {"id", "meta"})}
    if is_root:
        left["identifier"] = _own_identifiers(value)
    plain = {name: _plain(part, resources, is_root=False) for name, part in left.items()}
    if is_root and "profile" in value.get("meta", {}):
        plain["profile"] = value["meta"]["profile"]
    return plain


def _own_identifiers(document: Document) -> list[Document]:
    return [each for each in document.get("identifier", []) if each.get("system") != OWN_SYSTEM]


def stored(ehr: SimulatedEhr) -> By:
    types = ("Observation", "Patient", "Device", "DeviceMetric")
    return {f"{kind}/{each['id']}": each for kind in types for each in ehr.store.resources(kind)}


async def at_broker(client: httpx.AsyncClient, names: By) -> By:
    """The same resources as the broker has them."""
    return {name: (await client.get(f"/r4/{name}")).raise_for_status().json() for name in names}


async def test_each_ehr_has_the_same_as_the_broker_through_a_kill_of_every_process(tmp_path: Path) -> None:
    port, hook_port = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    targets = tmp_path / "targets.toml"
    serve = Command.of_broker(
        tmp_path,
        "serve",
        port=str(port),
        base_url=base,
        data_dir=str(tmp_path / "data"),
        reading_patients="create",
        profile_policy="reject",
        write_targets=str(targets),
    )
    names = example_names()
    half = len(names) // 2
    expected = observation_count()
    async with (
        SimulatedEhr(port=free_port()) as written,  # they are stopped, and start again at their ports
        SimulatedEhr(port=free_port()) as pulling,
        SimulatedEhr(port=free_port()) as notified,
        httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client,
    ):
        ways = (written, pulling, notified)
        targets.write_text(TARGET.format(base=written.base, system=OWN_SYSTEM))
        hook = bridge("rest_hook_bridge", tmp_path, f"{base}/r4", notified.base, str(hook_port))
        poller = bridge("polling_bridge", tmp_path, f"{base}/r4", pulling.base)
        processes = (serve, hook, poller)
        with serve, hook, poller:
            await serve.until_ready(base)
            endpoint = f"http://127.0.0.1:{hook_port}/notifications"
            document = subscription("r4", DEVICE_READINGS, endpoint, content="full-resource", max_count=5)
            await subscribe(client, document)
            await subscribe(client, write_subscription(topic=DEVICE_READINGS, max_count=5))
            for ehr in ways:
                ehr.faults.add(Refuse(503), LoseAnswer(), LoseRequest(), Refuse(429, retry_after_s=0))
            await send(client, names[:half])
            for ehr in ways:
                await ehr.stop()
            for process in processes:
                process.kill()
            for process in processes:
                process.spawn()
            await serve.until_ready(base)
            await send(client, names[half:])
            for ehr in ways:
                await ehr.start()
            for ehr in ways:
                assert await ehr.wait_until(expected, "Observation", 120), hook.output + poller.output
                assert ehr.faults.is_empty

            async def are_equal() -> bool:
                own = comparable(await at_broker(client, stored(notified)))
                return all(comparable(stored(ehr)) == own for ehr in ways)

            await until(are_equal)
    observations = comparable(stored(written))
    assert len(observations) == expected
    assert {
        row for row, code in ROWS.items() if not any(f'"{code}"' in each for each in observations)
    } == set()
