"""The console's pages of operators, administrators and auditors, read and used without scripts: dead letters,
quarantined readings, the tester of mappings, clients and keys, the audit trail, reports.
"""

import html
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.app import Running, running
from broker.mapping.examples import example
from broker.settings import Settings
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import LOOPBACK
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, until
from tests.integration.console_client import ConsoleClient, ConsolePage, console_of

PATIENTS = "http://example.org/patients"
JSON = {"Content-Type": "application/json"}
HEART_RATE_CODE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder: Path = tmp_path_factory.mktemp("console")
    settings = Settings(port=0, data_dir=folder / "data", egress_allow=LOOPBACK, partitions=4, shards=4)
    async with running(settings) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def console(broker: Running) -> AsyncIterator[ConsoleClient]:
    async with console_of(broker.settings.base_url) as started:
        yield started


async def read(console: ConsoleClient, path: str, status: int = 200) -> str:
    """The text of a page."""
    page = await console.read(path)
    assert page.status == status, page.text
    return page.text


@pytest_asyncio.fixture(loop_scope="module")
async def subscriber() -> AsyncIterator[SimulatedSubscriber]:
    async with SimulatedSubscriber() as started:
        yield started


def check_refusal(page: ConsolePage, problem: str) -> None:
    assert page.status == 400, page.text
    assert problem in page.text


async def quarantine(console: ConsoleClient, *names: str) -> list[str]:
    """Sends payloads that no mapping is for; the ids of their dead letters."""
    ids = []
    for name in names:
        body = json.dumps({"unmapped": name, "note": f"<b>{name}</b>"})
        response = await console.client.post("/readings", content=body, headers=JSON)
        assert response.status_code == 202, response.text
        ids.append(response.json()["deadLetter"])
    return ids


async def test_a_quarantined_reading_is_explained_shown_and_discarded(console: ConsoleClient) -> None:
    (letter,) = await quarantine(console, "one")
    for path in ("/dead-letters", "/quarantined-readings", "/quarantined-readings?reason=no-mapping"):
        listed = await read(console, path)
        assert letter in listed
        assert "Add a mapping for the payload, try it (page Try a reading), then redrive." in listed
        assert "unmapped" not in listed
    assert letter not in await read(console, "/quarantined-readings?reason=unknown-unit")
    shown = await read(console, f"/dead-letters/{letter}")
    assert "no mapping is for this payload" in shown
    assert "unmapped" not in shown
    payload = await read(console, f"/dead-letters/{letter}/payload")
    assert "<b>one</b>" in payload
    assert "Try it with the mappings in force" in payload
    tried = {"payload": json.dumps({"unmapped": "one"}), "format": "json"}
    result = await console.send(f"/dead-letters/{letter}/payload", "/readings/try", **tried)
    assert "It would be quarantined no-mapping" in result.text
    await read(console, "/dead-letters/reading-1-1", 404)

    page = f"/dead-letters/{letter}"
    asked = await console.send(page, "/dead-letters/discard/confirm", id=letter)
    assert "deleted for good" in asked.text
    assert letter in await read(console, "/quarantined-readings")
    done = await console.send(page, "/dead-letters/discard", id=letter)
    assert "1 dead letter discarded." in done.text
    assert letter not in await read(console, "/quarantined-readings")


async def test_what_is_refused_again_stays_with_its_reason(console: ConsoleClient) -> None:
    letters = await quarantine(console, "two", "three")
    done = await console.send("/quarantined-readings", "/dead-letters/redrive", id=letters)
    assert "0 dead letters redriven. 2 refused:" in done.text
    assert f"{letters[0]}: no-mapping: no mapping is for this payload" in done.text
    refused = await console.send("/quarantined-readings", "/dead-letters/redrive")
    check_refusal(refused, "Tick the dead letters that are meant.")


async def test_all_that_a_filter_includes_are_discarded_in_the_background(console: ConsoleClient) -> None:
    await quarantine(console, *(f"many-{n}" for n in range(60)))
    first, second = "/quarantined-readings", "/quarantined-readings?after="
    following = [link for link in await console.links(first) if link.startswith(second)]
    assert len(set(following)) == 1
    assert "First page" in await read(console, following[0])
    order = {"kind": "reading", "reason": "no-mapping", "action": "discard"}
    check_refusal(await console.send(first, "/dead-letters/run", **order), "Tick the box")
    started = await console.send(first, "/dead-letters/run", **order, sure="yes", place=first)
    assert "The discard of all of them has started." in started.text

    async def is_complete() -> bool:
        return "The last run is complete" in await read(console, first)

    await until(is_complete)
    listed = await read(console, first)
    assert "open started to discard reading no-mapping dead letters" in listed
    assert "There are none. Nothing is to be done." in listed
    trail = await read(console, "/audit?action=discard")
    assert "dead letters, run" in trail


async def try_example(console: ConsoleClient, name: str, **fields: str) -> str:
    """What the page says of the example payload of a mapping."""
    page = f"/readings?example={name}"
    assert example(name).decode().strip() in html.unescape((await console.read(page)).source)
    form = {"payload": example(name).decode(), "format": "json"} | fields
    return (await console.send(page, "/readings/try", **form)).text


async def test_a_payload_is_tried_and_nothing_is_stored(
    console: ConsoleClient, subscriber: SimulatedSubscriber
) -> None:
    ward = BrokerFixture(console.client, subscriber)
    notified = await ward.subscribe("notified")
    other = await ward.subscribe("other", filters=["patient=Patient/none"])
    tried = await try_example(console, "heart-rate-monitor")
    assert "It would be quarantined" in tried
    assert "No Patient has the identifier. Create the Patient." in tried
    patient = {"resourceType": "Patient", "identifier": [{"system": PATIENTS, "value": "p-1"}]}
    assert (await console.client.post("/r4/Patient", json=patient)).status_code == 201
    tried = await try_example(console, "heart-rate-monitor")
    assert "It would be accepted" in tried
    assert "Created first" in tried
    assert "http://example.org/devices" in tried
    assert "Observation 1 (mapping heart-rate-monitor): would be created" in tried
    assert "No issue." in tried
    assert f"fires : {VITAL_SIGNS}" in tried
    assert "1 would be notified, 1 not" in tried
    assert f"{notified} yes" in tried
    assert f"{other} no" in tried
    assert "does not pass" in tried
    assert subscriber.endpoint("notified").of_type("event-notification") == []
    for resource_type in ("Device", "Observation"):
        found = await console.client.get(f"/r4/{resource_type}")
        assert found.json().get("total", 0) == 0, found.text

    payload = example("heart-rate-monitor")
    assert (await console.client.post("/readings", content=payload, headers=JSON)).status_code == 201
    tried = await try_example(console, "heart-rate-monitor")
    assert "is stored already: nothing would be written" in tried
    changed = payload.decode().replace('"heartRate": 72', '"heartRate": 73')
    tried = await try_example(console, "heart-rate-monitor", payload=changed)
    assert "Another value is stored for this device, patient, code and time." in tried


async def test_a_payload_that_cannot_be_read_is_explained(console: ConsoleClient) -> None:
    assert "malformed" in await try_example(console, "scale", payload="{")
    assert "no-mapping" in await try_example(console, "scale", payload='{"a": 1}')
    for payload, form, problem in ((" ", "json", "There is no payload."), ("zz", "gatt:2A37", "hexadecimal")):
        wrong = await console.send("/readings", "/readings/try", payload=payload, format=form)
        check_refusal(wrong, problem)


async def test_the_audit_trail_is_searched_and_verified(console: ConsoleClient) -> None:
    (letter,) = await quarantine(console, "seen")
    await read(console, f"/dead-letters/{letter}/payload")
    found = await read(console, "/audit?action=read&agent=open&subject=&outcome=")
    assert f"console /dead-letters/{{id}}/payload {letter}" in found
    assert "No entry passes the search." in await read(console, "/audit?agent=nobody")
    assert "No entry passes the search." in await read(console, "/audit?end=2000-01-01")
    assert "takes a date" in await read(console, "/audit?start=yesterday", 400)
    patient = {"resourceType": "Patient", "id": "audited"}
    for _ in range(55):
        assert (await console.client.put("/r4/Patient/audited", json=patient)).status_code in {200, 201}
    path = "/audit?subject=Patient/audited&action=update"
    assert "Older entries" in await read(console, path)
    older = next(link for link in await console.links(path) if "behind=" in link)
    listed = await read(console, older)
    assert "Newest entries" in listed
    assert "Patient/audited/_history/2 " in listed
    verified = await read(console, "/audit/verify")
    assert "are as they were written." in verified
    head = verified.split("Head of the trail ")[1].split()[0]
    assert "are as they were written." in await read(console, f"/audit/verify?head={head}")
    number, _, digest = head.partition(":")
    wrong = await read(console, f"/audit/verify?head={number}:{digest[::-1]}")
    assert f"Entry {int(number):,} is not as it was written" in wrong


async def test_reports_are_read_and_downloaded(console: ConsoleClient) -> None:
    body = {"resourceType": "Observation", "status": "final", "code": HEART_RATE_CODE}
    assert (await console.client.post("/r4/Observation", json=body)).status_code == 201
    report = await read(console, "/conformance")
    assert "http://hl7.org/fhir/StructureDefinition/heartrate" in report
    assert "Observation.subject" in report
    assert "not a resource type" in await read(console, "/conformance?type=Nothing", 400)
    for form, start in (("json", "{"), ("html", "<!doctype html>"), ("markdown", "# Conformance report")):
        file = await console.client.get(f"/console/conformance/download?format={form}")
        assert file.status_code == 200
        assert file.text.startswith(start)
        assert file.headers["content-disposition"].startswith("attachment")
    document = await read(console, "/mapping-document")
    assert "heart-rate-monitor" in document
    assert "8867-4" in document
    for form, start in (("html", "<!doctype html>"), ("csv", "Mapping,"), ("markdown", "# Resource mapping")):
        file = await console.client.get(f"/console/mapping-document/download?format={form}")
        assert file.text.startswith(start)
    assert "format takes" in await read(console, "/mapping-document/download?format=pdf", 400)
