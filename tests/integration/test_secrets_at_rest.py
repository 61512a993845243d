"""Secrets and health data stay where they belong. A broker is exercised with markers in header values,
signing secrets and strings of resources, and everything it wrote and answered is searched for them.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx

from broker.fhir.header_masks import MASK
from broker.store.compression import compress
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture, Script, until_ready
from tests.integration.commands import Command, run
from tests.integration.leaks import command_lines, files, forms, with_unpacked
from tests.ports import free_port

_JSON = {"Content-Type": "application/fhir+json"}
SECRET = "hunter2-swordfish"
HEALTH = "markerhealth"


class Session:
    """A client that keeps every answer, and subscriptions that have the secret in their headers."""

    def __init__(self, fixture: BrokerFixture) -> None:
        self.fixture = fixture
        self.answers: list[str] = []

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        response = await self.fixture.client.request(method, url, content=content, headers=_JSON | headers)
        assert response.status_code < 500, response.text
        self.answers.append(f"{response.headers!r} {response.text}")
        return response

    def document(self, name: str, release: str, value: str = SECRET) -> dict[str, Any]:
        headers = [("Authorization", f"Bearer {value}"), ("X-Key", value)]
        return self.fixture.document(name, release=release, headers=headers)


async def _register(session: Session) -> list[str]:
    """Subscriptions of every release by every way to register; their ids."""
    ids = []
    for release in ("r4", "r4b", "r5"):
        document, base = session.document(f"sub-{release}", release), f"/{release}/Subscription"
        first = await session.ask("POST", base, document, **{"Idempotency-Key": f"key-{release}"})
        again = await session.ask("POST", base, document, **{"Idempotency-Key": f"key-{release}"})
        assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
        ids.append(first.json()["id"])
        other = session.document(f"put-{release}", release) | {"id": f"put-{release}"}
        put = await session.ask("PUT", f"{base}/put-{release}", other)
        assert put.status_code == 201, put.text
        ids.append(f"put-{release}")
        entry = {"resource": document, "request": {"method": "POST", "url": "Subscription"}}
        batch = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
        assert (await session.ask("POST", f"/{release}", batch)).status_code == 200
        criteria = {"If-None-Exist": f"url=http://127.0.0.1/{release}"}
        await session.ask("POST", base, document, **criteria)
    return ids


async def _be_refused(session: Session) -> None:
    """Registrations that are refused, each for another reason, with the secret in them."""
    for release in ("r4", "r5"):
        for value in (f"{SECRET}\u0001", f" {SECRET}\r\nX: y", f"é{SECRET}"):
            response = await session.ask(
                "POST", f"/{release}/Subscription", session.document("x", release, value)
            )
            assert response.status_code == 422, response.text
        document = session.document("x", release)
        parameters = {"resourceType": "Parameters"}
        parameter = [{"name": "resource", "resource": document | {"status": "error"}}]
        await session.ask("POST", f"/{release}/Subscription/$validate", parameters | {"parameter": parameter})
        parameter = [{"name": "subscription", "resource": document}]
        await session.ask("POST", f"/{release}/Subscription/$dry-run", parameters | {"parameter": parameter})
    broken = session.document("x", "r5")
    broken["parameter"][0]["value"] = [SECRET]
    assert (await session.ask("POST", "/r5/Subscription", broken)).status_code in {400, 422}
    broken = session.document("x", "r4")
    broken["channel"]["header"] = [SECRET, {"Authorization": SECRET}]
    assert (await session.ask("POST", "/r4/Subscription", broken)).status_code in {400, 422}


async def _read(session: Session, subscription_id: str) -> None:
    for release in ("r4", "r4b", "r5"):
        base = f"/{release}/Subscription"
        for path in (
            "",
            "/_history/1",
            "/$status",
            "/$events",
            "/$delivery",
            "?_pretty=true",
            "?_summary=true",
        ):
            await session.ask("GET", f"{base}/{subscription_id}{path}")
        await session.ask("GET", f"{base}?_count=100")
    change = {"resourceType": "Parameters", "parameter": [{"name": "change", "valueString": "Observation/1"}]}
    await session.ask("POST", f"/r5/Subscription/{subscription_id}/$explain", change)
    await session.ask("POST", f"/r5/Subscription/{subscription_id}/$send-test")
    patch = [{"op": "add", "path": "/end", "value": "2099-01-01T00:00:00Z"}]
    patched = await session.ask(
        "PATCH",
        f"/r5/Subscription/{subscription_id}",
        patch,
        **{"Content-Type": "application/json-patch+json"},
    )
    assert patched.status_code == 200, patched.text


_PERSON = {
    "resourceType": "Patient",
    "id": "ana",
    "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{HEALTH}</div>'},
    "extension": [{"url": "http://example.org/x", "valueString": HEALTH}],
    "name": [{"text": HEALTH, "family": HEALTH, "given": [HEALTH], "prefix": [HEALTH], "suffix": [HEALTH]}],
    "telecom": [{"system": "phone", "value": HEALTH}],
    "address": [
        dict.fromkeys(("text", "city", "district", "state", "postalCode", "country"), HEALTH)
        | {"line": [HEALTH]}
    ],
    "contact": [{"name": {"family": HEALTH}, "relationship": [{"text": HEALTH}]}],
    "maritalStatus": {"text": HEALTH, "coding": [{"display": HEALTH}]},
}
_STRINGS = {
    "note": [{"text": HEALTH, "authorString": HEALTH}],
    "interpretation": [{"text": HEALTH, "coding": [{"code": HEALTH, "display": HEALTH}]}],
    "bodySite": {"text": HEALTH},
    "method": {"coding": [{"version": HEALTH, "display": HEALTH}]},
    "performer": [{"display": HEALTH}],
    "referenceRange": [{"text": HEALTH}],
    "component": [{"code": {"text": HEALTH}, "valueString": HEALTH}],
}
"""Every kind of string that an Observation may have."""
_ACCEPTED = 3
"""How many changes of `_send_health_data` are events."""


async def _send_health_data(session: Session) -> None:
    """Changes that are accepted, and some that are refused, with the marker in all of their strings."""
    note = [{"text": HEALTH}]
    assert (await session.ask("PUT", "/r4/Patient/ana", _PERSON)).status_code == 201
    reading = json.loads(json.dumps(observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)))
    for each in (_STRINGS, _STRINGS | {"id": "seen"}):
        url, method = ("/r4/Observation/seen", "PUT") if "id" in each else ("/r4/Observation", "POST")
        accepted = await session.ask(method, url, reading | each)
        assert accepted.status_code == 201, accepted.text
    for changed in ({"note": note}, {"note": HEALTH}, {HEALTH: 1}, {"issued": HEALTH}, {"status": HEALTH}):
        await session.ask("POST", "/r4/Observation", reading | changed)
    await session.ask("POST", "/r5/$business-event", {"resourceType": "Parameters", "x": HEALTH})
    raw = await session.fixture.client.post("/r4/Observation", content=f"{{{HEALTH}", headers=_JSON)
    assert raw.status_code == 400


def test_the_search_finds_a_compressed_text() -> None:
    stored = compress(" ".join([HEALTH, *map(str, range(500))]).encode())
    assert HEALTH.encode() not in stored
    assert HEALTH.encode() in with_unpacked(b"*3\r\n" + stored + b"\r\n*1\r\n" + stored)


async def _exercise(session: Session, secrets: list[str]) -> None:
    fixture, subscriber = session.fixture, session.fixture.subscriber
    ids = await _register(session)
    await _be_refused(session)
    for subscription_id in ids:
        await fixture.until_status(subscription_id, "active")
        rotated = await fixture.client.post(f"/r5/Subscription/{subscription_id}/$rotate-secret")
        assert rotated.status_code == 200, rotated.text
        secrets.append(rotated.json()["parameter"][0]["valueString"].removeprefix("whsec_"))
    subscriber.endpoint("sub-r4").answer = Script(503)
    subscriber.endpoint("put-r4").answer = Script(400)
    await _send_health_data(session)
    await fixture.until_numbers("sub-r4", _ACCEPTED)
    for name in ("put-r4b", "put-r5"):
        endpoint = subscriber.endpoint(name)
        await fixture.until_numbers(name, _ACCEPTED)
        sent = dict(endpoint.received[-1].headers)
        assert sent["Authorization"] == f"Bearer {SECRET}"
        assert sent["webhook-signature"].startswith("v1,")
    for subscription_id in ids:
        await _read(session, subscription_id)
    unreachable = session.document("x", "r5") | {"endpoint": "https://127.0.0.1:1/never"}
    failed = await session.ask("POST", "/r5/Subscription", unreachable)
    assert failed.status_code == 201, failed.text
    await session.ask("DELETE", f"/r5/Subscription/{ids[0]}")
    await session.ask("GET", f"/r5/Subscription/{ids[0]}")
    for path in ("/metrics", "/r5/metadata", "/r5/$dead-letters"):
        await session.ask("GET", path)
    session.answers.append((await until_ready(session.fixture.client)).text)


async def test_no_secret_is_written_or_answered_and_no_health_data_is_logged(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base, data = f"http://127.0.0.1:{port}", tmp_path / "data"
    settings = {"port": str(port), "data_dir": str(data), "log_level": "debug", "handshake_grace": "0s"}
    settings["seal_resources"] = "true"
    secrets: list[str] = []
    with Command.of_broker(tmp_path, "serve", "--workers", "2", **settings) as serve:
        await serve.until_ready(base)
        async with httpx.AsyncClient(base_url=base, trust_env=False, headers=_JSON, timeout=60) as client:
            session = Session(BrokerFixture(client, subscriber))
            await _exercise(session, secrets)
            metrics = (await client.get("/metrics")).text
            document = (await client.get("/r4/Subscription/put-r4")).json()
            status = (await client.get("/r5/Subscription/$status")).text
            total = (await client.get("/r5/Subscription")).json()["total"]
        assert document["channel"]["header"] == [f"Authorization: {MASK}", f"X-Key: {MASK}"]
        shown = [
            await asyncio.to_thread(run, "subscriptions", *arguments, "--base", base)
            for arguments in (["show", "put-r4"], ["show", "put-r4", "--json"], ["list"], ["pause", "put-r5"])
        ]
        processes = command_lines()
        listed = await asyncio.to_thread(run, "key-ring", "list", "--json", data_dir=str(data))
        assert await serve.stop() == 0
    written = files(tmp_path)
    assert any(name.endswith(".aof") for name in written)
    assert {"data/high-water.json", "data/key-ring.json"} < written.keys()
    answered = "\n".join([*session.answers, *(each.stdout + each.stderr for each in [*shown, listed])])
    places = written | {"answers": answered.encode(), "processes": processes}
    for secret in (SECRET, *secrets):
        found = [name for name, text in places.items() if any(form in text for form in forms(secret))]
        assert found == [], f"the secret is in {found}"
    for raw in (base64.b64decode(secret) for secret in secrets):
        assert [name for name, text in places.items() if raw in text or raw.hex().encode() in text] == []
    assert HEALTH in answered, "the answers were kept"
    assert [text.count(HEALTH) for text in (serve.output, metrics, status)] == [0, 0, 0]
    store_files = {name: content for name, content in written.items() if name.startswith("data/")}
    readable = [name for name, text in store_files.items() if HEALTH.encode() in with_unpacked(text)]
    assert readable == [], f"sealed resources can be read in {readable}"
    assert HEALTH.encode() not in processes
    [key] = json.loads(listed.stdout)
    assert key["resources"] > 0
    assert (key["active"], key["subscriptions"]) == (True, total)
