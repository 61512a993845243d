"""The audit trail over HTTP: each kind of act leaves exactly its entry, and only auditors read it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from broker.api.audited_rows import AUDITED, EXEMPT
from broker.app import Running
from broker.errors import Issue, Malformed
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal, PrincipalRole
from broker.model.scopes import parse_scopes
from broker.services import login_failures
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.audit_client import AuditReader, Event, agent, references, word
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.interaction_rows import ROWS

VITALS = "http://fhir-broker.org/topics/vital-signs"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
PATIENT = {"resourceType": "Patient", "id": "ana", "name": [{"family": "Secretname"}]}
READING = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [{"coding": [{"system": CATEGORIES, "code": "vital-signs"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    "subject": {"reference": "Patient/ana"},
    "valueQuantity": {"value": 4711, "unit": "/min"},
}
PRINCIPALS = {
    "": OPEN_PRINCIPAL,
    "gateway": Principal("gateway", DEFAULT_TENANT, parse_scopes("system/*.cruds"), frozenset()),
    "open": replace(OPEN_PRINCIPAL, client_id="opened"),
    "nobody": Principal("nobody", DEFAULT_TENANT, frozenset(), frozenset()),
    "auditor": Principal("auditor", DEFAULT_TENANT, frozenset(), frozenset({PrincipalRole.AUDITOR})),
}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    name = headers.get("x-client", "")
    if name not in PRINCIPALS:
        raise Malformed(Issue("login", "unknown"))
    return PRINCIPALS[name]


def as_client(name: str) -> dict[str, str]:
    return {"X-Client": name}


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


@pytest.fixture
def trail(client: httpx.AsyncClient) -> AuditReader:
    return AuditReader(client, as_client("auditor"))


def test_every_row_is_audited_or_exempt_with_a_reason() -> None:
    rows = {(row.method, row.path) for row in ROWS}
    assert not set(AUDITED) & set(EXEMPT)
    assert rows - set(AUDITED) == set(EXEMPT), "name a new row in api/audited_rows.py"
    assert not set(AUDITED) - rows, "these rows do not exist any more"
    assert all(len(reason) > 20 for reason in EXEMPT.values())


async def test_each_act_on_a_resource_leaves_exactly_its_entry(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    gateway = as_client("gateway")
    await client.put("/r4/Patient/ana", json=PATIENT, headers=gateway)
    await client.put("/r4/Observation/o1", json=READING, headers=gateway)
    await client.put("/r4/Observation/o1", json=READING, headers=gateway)
    created = await client.post("/r4/Observation", json=READING, headers=gateway)
    new = created.json()["id"]
    for path in ("o1", "o1/_history/1", "o1/_history", "none"):
        await client.get(f"/r4/Observation/{path}", headers=gateway)
    await client.delete("/r4/Observation/o1", headers=gateway)
    await client.put("/r4/Observation/o1", json=READING | {"status": "wrong"}, headers=gateway)
    events = [event for event in await trail.export() if agent(event) == "gateway"]
    seen = [(word(event), event["action"], event["outcome"], references(event)) for event in events]
    assert seen == [
        ("create", "C", "0", ["Patient/ana/_history/1"]),
        ("create", "C", "0", ["Observation/o1/_history/1", "Patient/ana"]),
        ("update", "U", "0", ["Observation/o1/_history/2", "Patient/ana"]),
        ("create", "C", "0", [f"Observation/{new}/_history/1", "Patient/ana"]),
        ("read", "R", "0", ["Observation/o1/_history/2", "Patient/ana"]),
        ("vread", "R", "0", ["Observation/o1/_history/1", "Patient/ana"]),
        ("history", "R", "0", ["Observation/o1/_history/2", "Observation/o1/_history/1", "Patient/ana"]),
        ("read", "R", "4", ["Observation/none"]),
        ("delete", "D", "0", ["Observation/o1/_history/3"]),
        ("update", "U", "4", ["Observation/o1"]),
    ]
    assert all(event["agent"][0]["network"] == {"address": "127.0.0.1", "type": "2"} for event in events)
    numbers = [int(event["id"]) for event in await trail.export()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_repeated_write_and_a_conditional_create_show_what_is_stored(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "7"}]}
    headers = as_client("gateway") | {"If-None-Exist": "identifier=urn:x|7"}
    first = await client.post("/r4/Patient", json=patient, headers=headers)
    await client.post("/r4/Patient", json=patient, headers=headers)
    events = [event for event in await trail.export() if agent(event) == "gateway"]
    reference = f"Patient/{first.json()['id']}/_history/1"
    assert [(word(event), references(event)) for event in events] == [
        ("create", [reference]),
        ("read", [reference]),
    ]


async def test_entries_of_bundles_are_audited_one_by_one(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    entries = [
        {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/ana"}},
        {"resource": READING, "request": {"method": "PUT", "url": "Observation/o1"}},
    ]
    for kind in ("transaction", "batch"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
        response = await client.post("/r4", json=bundle, headers=as_client("gateway"))
        assert response.status_code == 200
    events = [event for event in await trail.export() if agent(event) == "gateway"]
    assert sorted((word(event), references(event)[0]) for event in events) == [
        ("create", "Observation/o1/_history/1"),
        ("create", "Patient/ana/_history/1"),
        ("update", "Observation/o1/_history/2"),
        ("update", "Patient/ana/_history/2"),
    ]


async def test_a_transaction_that_is_refused_is_one_entry(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    wrong = READING | {"status": "wrong"}
    entries = [
        {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/ana"}},
        {"resource": wrong, "request": {"method": "PUT", "url": "Observation/o1"}},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    response = await client.post("/r4", json=bundle, headers=as_client("gateway"))
    assert response.status_code == 422
    (event,) = [event for event in await trail.export() if agent(event) == "gateway"]
    assert (word(event), event["outcome"], references(event)) == ("operation", "4", [])
    assert event["outcomeDesc"].startswith("Bundle ")


async def test_refused_access_and_failed_authentication_are_recorded(
    client: httpx.AsyncClient, trail: AuditReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a second may pass between two requests on a loaded machine
    monkeypatch.setattr(login_failures, "_EVERY_S", 3_600.0)
    assert (await client.get("/r4/Patient/ana", headers=as_client("nobody"))).status_code == 403
    assert (await client.get("/r4/Patient/ana", headers=as_client("stranger"))).status_code == 400
    assert (await client.get("/r4/Patient/ana", headers=as_client("stranger"))).status_code == 400
    assert (await client.get("/r4/AuditEvent", headers=as_client("gateway"))).status_code == 403
    failures = [event for event in await trail.export() if event["outcome"] == "4"]
    assert [(word(event), agent(event), event["outcomeDesc"]) for event in failures] == [
        ("read", "nobody", "forbidden"),
        ("110122", "unauthenticated", "login"),
        ("read", "gateway", "forbidden"),
    ], "failures of one address are one entry a second"
    assert references(failures[0]) == ["Patient/ana"]


@pytest.mark.usefixtures("long_leases")
async def test_deliveries_name_the_receiver_and_what_it_got(
    client: httpx.AsyncClient, trail: AuditReader, subscriber: SimulatedSubscriber
) -> None:
    fixture = BrokerFixture(client, subscriber)
    document = subscription("r4", VITALS, subscriber.url("secret-path"), content="id-only")
    response = await client.post("/r4/Subscription", json=document, headers=as_client("gateway"))
    registered = response.json()["id"]
    await fixture.until_status(registered, "active")
    await client.put("/r4/Observation/o1", json=READING, headers=as_client("gateway"))
    await fixture.until_numbers("secret-path", 1)

    async def deliveries() -> list[Event]:
        return [event for event in await trail.export() if word(event) == "deliver"]

    async def are_two() -> bool:
        return len(await deliveries()) == 2

    await until(are_two)
    events = await trail.export()
    registration = next(event for event in events if word(event) == "create")
    assert references(registration) == [f"Subscription/{registered}/_history/1"]
    handshake, delivered = await deliveries()
    assert handshake["outcomeDesc"] == "handshake delivered"
    assert delivered["outcomeDesc"] == "event-notification delivered"
    assert references(handshake) == [f"Subscription/{registered}"]
    assert references(delivered)[:2] == [f"Subscription/{registered}", "Observation/o1/_history/1"]
    assert "Patient/ana" in references(delivered)
    assert agent(delivered) == "gateway"
    endpoint = urlsplit(subscriber.url("secret-path"))
    address = f"{endpoint.scheme}://{endpoint.netloc}"
    assert delivered["agent"][0]["network"] == {"address": address, "type": "5"}
    assert "secret-path" not in str(events)


async def test_operations_tokens_topics_and_streams_leave_their_entries(
    client: httpx.AsyncClient, trail: AuditReader, subscriber: SimulatedSubscriber
) -> None:
    registered = await BrokerFixture(client, subscriber).subscribe("a", content="id-only")
    await client.put("/r4/Observation/o1", json=READING)
    await BrokerFixture(client, subscriber).until_numbers("a", 1)
    base = f"/r5/Subscription/{registered}"
    for path in (f"{base}/$status", f"{base}/$events?eventsSinceNumber=1", f"{base}/$delivery"):
        assert (await client.get(path, headers=as_client("open"))).status_code == 200
    reference = {"name": "reference", "valueReference": {"reference": "Observation/o1/_history/1"}}
    explain = {"resourceType": "Parameters", "parameter": [reference]}
    assert (await client.post(f"{base}/$explain", json=explain, headers=as_client("open"))).status_code == 200
    await client.get(f"{base}/$get-ws-binding-token", headers=as_client("open"))
    await client.get("/r5/$dead-letters", headers=as_client("open"))
    await client.post("/r5/$discard-dead-letters?all=true", json={}, headers=as_client("open"))
    await client.delete("/r5/SubscriptionTopic/none", headers=as_client("open"))
    async with client.stream(
        "GET", f"{base}/$stream?eventsSinceNumber=1", headers=as_client("open")
    ) as stream:
        async for line in stream.aiter_lines():
            if line == "event: event-notification":
                break
    events = [event for event in await trail.export() if agent(event) == "opened"]
    about = [f"Subscription/{registered}", "Observation/o1/_history/1", "Patient/ana"]
    seen = {
        (word(event), event.get("outcomeDesc", "")): (event["outcome"], references(event)) for event in events
    }
    assert seen[("operation", "$events")] == ("0", about)
    assert seen[("operation", "$explain")] == ("0", about)
    assert seen[("stream", "")] == ("0", about)
    assert seen[("operation", "$status")] == ("0", about[:1])
    assert seen[("operation", "$delivery")] == ("0", about[:1])
    assert seen[("operation", "$stream")] == ("0", about[:1])
    assert seen[("operation", "$dead-letters")] == ("0", [])
    assert [key for key in seen if key[0] == "token"] != []
    assert [key for key in seen if key[0] == "discard"] != []
    assert seen[("delete", "not-found")] == ("4", ["SubscriptionTopic/none"])


async def test_no_content_of_a_resource_is_in_the_trail(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    await client.put("/r4/Patient/ana", json=PATIENT)
    await client.put("/r4/Observation/o1", json=READING)
    await client.get("/r4/Observation/o1")
    await client.put("/r4/Observation/o1", json=READING | {"status": "Secretstatus"})
    for release in ("r4", "r4b", "r5"):
        text = str(await trail.export(release))
        assert "Secret" not in text
        assert "4711" not in text


async def test_searches_select_page_and_are_audited_themselves(
    client: httpx.AsyncClient, trail: AuditReader
) -> None:
    gateway = as_client("gateway")
    await client.put("/r4/Patient/ana", json=PATIENT, headers=gateway)
    await client.put("/r4/Observation/o1", json=READING, headers=gateway)
    await client.get("/r4/Observation/o1", headers=gateway)

    async def found(query: str, release: str = "r4") -> list[str]:
        return [event["action"] for event in await trail.search(query, release)]

    assert await found("patient=Patient/ana&agent=gateway") == ["R", "C", "C"]
    assert await found("patient=ana&agent=gateway&action=C") == ["C", "C"]
    assert await found("entity=Observation/o1&_sort=date&agent=gateway") == ["C", "R"]
    assert await found("agent=gateway&date=gt2100") == []
    assert await found("agent=gateway&date=ge2000-01-01&date=lt2100") == ["R", "C", "C"]
    assert await found("agent=gateway&outcome=4") == []
    assert await found("agent=gateway&type=rest&subtype=read") == ["R"]
    assert await found("agent=gateway&category=rest&code=read", "r5") == ["R"]
    pages, url = [], "/r4/AuditEvent?agent=gateway&_count=2&_total=accurate"
    while url:
        page = (await client.get(url, headers=as_client("auditor"))).json()
        assert page["total"] == 3
        pages.append([each["resource"]["action"] for each in page["entry"]])
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert pages == [["R", "C"], ["C"]]
    asked = await trail.search("agent=auditor&patient=Patient/ana")
    assert [word(event) for event in asked] == ["search-type", "search-type"]
    one = (await trail.search("agent=gateway"))[0]
    read = await client.get(f"/r5/AuditEvent/{one['id']}", headers=as_client("auditor"))
    assert read.json()["patient"] == {"reference": "Patient/ana"}
    missing = await client.get("/r4/AuditEvent/999999", headers=as_client("auditor"))
    assert missing.status_code == 404


async def test_nobody_writes_audit_events(client: httpx.AsyncClient) -> None:
    event: dict[str, Any] = {"resourceType": "AuditEvent", "id": "1"}
    for release in ("r4", "r4b", "r5"):
        for method, path in (("POST", "AuditEvent"), ("PUT", "AuditEvent/1"), ("DELETE", "AuditEvent/1")):
            content = None if method == "DELETE" else event
            response = await client.request(method, f"/{release}/{path}", json=content)
            assert response.status_code == 405, (release, method)
            assert "no client writes" in response.text
            assert response.headers["Allow"] == "GET"
    entry = {"resource": event, "request": {"method": "PUT", "url": "AuditEvent/1"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert (await client.post("/r4", json=bundle)).status_code == 405


async def test_start_stop_and_reload_are_recorded_and_a_trail_that_is_off_stays_empty(
    start_broker: StartBroker,
) -> None:
    async def words(running: Running) -> list[str]:
        async with httpx.AsyncClient(base_url=running.settings.base_url, timeout=60) as client:
            await client.get("/r4/Patient/ana")
            return [word(event) for event in await AuditReader(client).export()]

    async with start_broker():
        pass
    async with start_broker() as second:
        await second.reload()
        first_words = await words(second)
        assert first_words == ["110120", "110121", "110120", "administer", "read", "operation"]
    async with start_broker(audit=False) as third:
        assert await words(third) == [*first_words, "110121"]


async def test_a_trail_verifies_and_an_altered_one_does_not(
    client: httpx.AsyncClient, trail: AuditReader, store: Any
) -> None:
    await client.put("/r4/Patient/ana", json=PATIENT)
    await client.get("/r4/Patient/ana")
    result = await trail.verify()
    assert result["complete"]
    assert "problem" not in result
    assert result["reached"] == result["head"]
    recorded = result["head"]
    await client.get("/r4/Patient/ana")
    assert "problem" not in await trail.verify(recorded=recorded)
    forged = recorded[:-4] + ("0000" if recorded[-4:] != "0000" else "1111")
    assert "recorded head" in (await trail.verify(recorded=forged))["problem"]
    assert (await client.get("/r4/AuditEvent/$verify-trail?recorded=x")).status_code == 400
