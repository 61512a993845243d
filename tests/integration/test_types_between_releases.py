"""Resources of any type, from producers of each release to subscribers and readers of each release.

One broker serves all cases: what a release cannot show is left out with the reason, and nothing else is.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.release import Release
from broker.model.subscription import PayloadContent
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture

ANYTHING = "http://example.org/topics/anything"
TRANSPORTS = "http://example.org/topics/transports"
ANA = {"reference": "Patient/ana"}
WHEN = "2026-01-01T08:00:00Z"
CODE = {"text": "x"}
Document = dict[str, Any]
_ALIKE: dict[str, Document] = {
    "Appointment": {"status": "booked", "participant": [{"status": "accepted", "actor": ANA}]},
    "Task": {"status": "requested", "intent": "order"},
    "DocumentReference": {"status": "current", "content": [{"attachment": {"title": "x"}}]},
    "Condition": {"clinicalStatus": CODE, "subject": ANA},
    "ServiceRequest": {"status": "active", "intent": "order", "subject": ANA},
    "Communication": {"status": "completed", "subject": ANA},
    "Flag": {"status": "active", "code": CODE, "subject": ANA},
    "Observation": {"status": "final", "code": CODE, "subject": ANA},
}
_R4_AND_R4B = _ALIKE | {
    "MedicationAdministration": {
        "status": "completed",
        "medicationCodeableConcept": CODE,
        "subject": ANA,
        "effectiveDateTime": WHEN,
    },
    "Provenance": {
        "target": [ANA],
        "recorded": WHEN,
        "agent": [{"who": ANA, "onBehalfOf": {"display": "x"}}],
    },
}
RESOURCES: dict[Release, dict[str, Document]] = {
    Release.R4: _R4_AND_R4B | {"SubstancePolymer": {"geometry": CODE}},
    Release.R4B: _R4_AND_R4B | {"NutritionProduct": {"status": "active"}},
    Release.R5: _ALIKE
    | {
        "MedicationAdministration": {
            "status": "completed",
            "medication": {"concept": CODE},
            "subject": ANA,
            "occurenceDateTime": WHEN,
        },
        "Provenance": {"target": [ANA], "recorded": WHEN, "agent": [{"who": ANA}]},
        "Transport": {
            "intent": "order",
            "requestedLocation": {"display": "x"},
            "currentLocation": {"display": "y"},
        },
        "NutritionProduct": {"status": "active"},
    },
}
TYPES = sorted({name for resources in RESOURCES.values() for name in resources})


def is_shown(name: str, source: Release, target: Release) -> bool:
    """Whether the target release can show what was written in the source release."""
    if source is target or name == "Observation":
        return True
    return Release.R5 not in {source, target} and name in _R4_AND_R4B


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[Running]:
    for n, (url, types) in enumerate({ANYTHING: TYPES, TRANSPORTS: ["Transport"]}.items()):
        topic = {"resourceType": "SubscriptionTopic", "id": f"t{n}", "url": url, "status": "active"}
        triggers = {"resourceTrigger": [{"resource": name} for name in types]}
        (tmp_path / f"t{n}.json").write_text(json.dumps(topic | triggers))
    async with start_broker(topics_dir=tmp_path) as started:
        yield started


async def _write_everything(client: httpx.AsyncClient) -> dict[tuple[str, Release], str]:
    """Puts each type at each release that has it; the `Type/id` of each."""
    references = {}
    for source, resources in RESOURCES.items():
        for name, elements in resources.items():
            reference = references[name, source] = f"{name}/of-{source}"
            document = {"resourceType": name, "id": f"of-{source}", **elements}
            response = await client.put(f"/{source}/{reference}", json=document)
            assert response.status_code == 201, (source, name, response.text)
    return references


def _focus_entries(bundles: list[Document]) -> dict[str, Document]:
    """The entry of each focus, by `Type/id`."""
    return {
        "/".join(entry["fullUrl"].split("/")[-2:]): entry
        for bundle in bundles
        for entry in bundle["entry"][1:]
    }


async def test_every_type_reaches_subscribers_and_readers_of_the_releases_that_can_show_it(
    broker_fixture: BrokerFixture,
) -> None:
    client, cases = broker_fixture.client, [(target, level) for target in Release for level in PayloadContent]
    ids = {
        (target, level): await broker_fixture.subscribe(
            f"{target}-{level}", topic=ANYTHING, release=target, content=level, max_count=7
        )
        for target, level in cases
    }
    references = await _write_everything(client)
    for target, level in cases:
        name = f"{target}-{level}"
        await broker_fixture.until_numbers(name, len(references))
        endpoint = broker_fixture.subscriber.endpoint(name)
        bundles = [json.loads(received.body) for received in endpoint.received if received.notification]
        events = await client.get(f"/{target}/Subscription/{ids[target, level]}/$events")
        _check(target, level, bundles, references)
        _check(target, level, [events.json()], references)
    await _check_reads(client, references)


def _check(
    target: Release,
    level: PayloadContent,
    bundles: list[Document],
    references: dict[tuple[str, Release], str],
) -> None:
    entries, text = _focus_entries(bundles), json.dumps(bundles)
    for (name, source), reference in references.items():
        case = (name, source, target, level)
        reason = f"{reference}/_history/1 is not included: it can't be converted from {source.upper()}"
        is_left_out = level is PayloadContent.FULL_RESOURCE and not is_shown(name, source, target)
        assert (reason in text) is is_left_out, case
        assert (f'{target}/{reference}"' in text) is (level is not PayloadContent.EMPTY), case
        if level is not PayloadContent.FULL_RESOURCE:
            assert reference not in entries, case
        elif is_left_out:
            assert "resource" not in entries[reference], case
            assert entries[reference]["request"] == {"method": "GET", "url": reference}, case
        else:
            assert entries[reference]["resource"].items() >= RESOURCES[source][name].items(), case


async def _check_reads(client: httpx.AsyncClient, references: dict[tuple[str, Release], str]) -> None:
    for (name, source), reference in references.items():
        for target in Release:
            for suffix in ("", "/_history/1"):
                response = await client.get(f"/{target}/{reference}{suffix}")
                case = (name, source, target, response.text)
                if is_shown(name, source, target):
                    assert response.status_code == 200, case
                    assert response.json().items() >= RESOURCES[source][name].items(), case
                else:
                    assert response.status_code in {404, 406}, case
                    assert response.json()["resourceType"] == "OperationOutcome"


async def test_a_registration_says_what_its_notifications_cannot_include(
    broker_fixture: BrokerFixture,
) -> None:
    client, prefer = broker_fixture.client, {"Prefer": "return=OperationOutcome"}
    for release in Release:
        document = subscription(release, ANYTHING, "http://127.0.0.1:9/x", content="full-resource")
        response = await client.post(
            f"/{release}/Subscription", json=document | {"status": "off"}, headers=prefer
        )
        assert response.status_code == 201, response.text
        texts = [each["diagnostics"] for each in response.json()["issue"] if each["severity"] == "warning"]
        foreign = "R4 or R4B" if release is Release.R5 else "R5"
        assert any("Appointment" in text and f"written at {foreign} can't" in text for text in texts), texts
        assert not any("Observation" in text for text in texts)
        status_url = response.headers["Location"].partition("/_history")[0] + "/$status"
        assert "can't be converted" not in (await client.get(status_url)).text
        document = subscription(release, TRANSPORTS, "http://127.0.0.1:9/x", content="full-resource")
        response = await client.post(f"/{release}/Subscription", json=document)
        assert response.status_code == (201 if release is Release.R5 else 422), response.text
