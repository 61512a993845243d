"""Subscriptions that can't be honoured: each is refused with an OperationOutcome naming the element, and
nothing is stored.

The cases of one release share a broker; the test reports every case that is not refused as it should be.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson

from broker.model.release import Release
from broker.testing.registration import BACKPORT, subscription
from tests.fhir.rows import read_back

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
Document = dict[str, Any]


def at(*path: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for name in path[:-1]:
            document = document.setdefault(name, {})
        if value is None:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return change


def extension(name: str, **value: Any) -> list[Document]:
    return [{"url": name if name.startswith("http") else BACKPORT + name, **value}]


def filter_string(text: str) -> Callable[[Document], None]:
    return at("_criteria", "extension", value=extension("backport-filter-criteria", valueString=text))


def filter_by(**members: str) -> Callable[[Document], None]:
    return at("filterBy", value=[members])


def custom(code: str) -> Callable[[Document], None]:
    return at(
        "channel", "_type", "extension", value=extension("backport-channel-type", valueCoding={"code": code})
    )


FOREIGN = extension("http://hl7.org/fhir/5.0/subscriptions-backport/StructureDefinition/x", valueString="y")
S = "Subscription"
BACKPORT_REFUSALS: list[tuple[str, Callable[[Document], None], str]] = [
    ("topic unknown", at("criteria", value="http://example.org/none"), f"{S}.criteria"),
    ("criteria is a query", at("criteria", value="Observation?code=1"), f"{S}.criteria"),
    ("filter not offered", filter_string("Observation?value-string=x"), f"{S}.criteria.extension[0]"),
    ("filter of another type", filter_string("Patient.gender=male"), f"{S}.criteria.extension[0]"),
    ("filter unreadable", filter_string("patient"), f"{S}.criteria.extension[0]"),
    ("comparator not offered", filter_string("value-quantity=sa5"), f"{S}.criteria.extension[0]"),
    ("modifier not offered", filter_string("date:below=2024"), f"{S}.criteria.extension[0]"),
    ("sms", at("channel", "type", value="sms"), f"{S}.channel.type"),
    ("custom channel", custom("zulip"), f"{S}.channel.type"),
    ("endpoint private", at("channel", "endpoint", value="https://10.0.0.1/x"), f"{S}.channel.endpoint"),
    ("endpoint http", at("channel", "endpoint", value="http://93.184.216.34/x"), f"{S}.channel.endpoint"),
    ("endpoint relative", at("channel", "endpoint", value="hook"), f"{S}.channel.endpoint"),
    ("endpoint missing", at("channel", "endpoint", value=None), f"{S}.channel.endpoint"),
    ("content missing", at("channel", "_payload", value=None), f"{S}.channel.payload"),
    ("payload is xml", at("channel", "payload", value="application/fhir+xml"), f"{S}.channel.payload"),
    (
        "other fhirVersion",
        at("channel", "payload", value="application/fhir+json; fhirVersion=5.0"),
        f"{S}.channel.payload",
    ),
    (
        "extension unknown on criteria",
        at("_criteria", "extension", value=FOREIGN),
        f"{S}.criteria.extension[0]",
    ),
    ("extension unknown on channel", at("channel", "extension", value=FOREIGN), f"{S}.channel.extension[0]"),
    (
        "extension unknown on payload",
        at("channel", "_payload", "extension", value=FOREIGN),
        f"{S}.channel.payload.extension[0]",
    ),
    ("status error", at("status", value="error"), f"{S}.status"),
    ("status missing", at("status", value=None), f"{S}.status"),
    ("reason missing", at("reason", value=None), f"{S}.reason"),
    ("criteria missing", at("criteria", value=None), f"{S}.criteria"),
    ("channel missing", at("channel", value=None), f"{S}.channel"),
    ("channel type missing", at("channel", "type", value=None), f"{S}.channel.type"),
    ("payload missing", at("channel", "payload", value=None), f"{S}.channel.payload"),
    (
        "header with a line break",
        at("channel", "header", value=["X: a\r\nHost: b"]),
        f"{S}.channel.header[0]",
    ),
    ("header reserved", at("channel", "header", value=["X: a", "Host: b"]), f"{S}.channel.header[1]"),
    ("header without colon", at("channel", "header", value=["X"]), f"{S}.channel.header[0]"),
]
NATIVE_REFUSALS: list[tuple[str, Callable[[Document], None], str]] = [
    ("topic unknown", at("topic", value="http://example.org/none"), f"{S}.topic"),
    ("topic version unknown", at("topic", value=f"{VITALS}|7"), f"{S}.topic"),
    ("filter not offered", filter_by(filterParameter="nope", value="x"), f"{S}.filterBy[0]"),
    (
        "comparator not offered",
        filter_by(filterParameter="date", comparator="ap", value="2024"),
        f"{S}.filterBy[0]",
    ),
    (
        "scr-1",
        filter_by(filterParameter="date", comparator="ge", modifier="missing", value="2024"),
        f"{S}.filterBy[0]",
    ),
    (
        "comparator and prefix",
        filter_by(filterParameter="date", comparator="ge", value="le2024"),
        f"{S}.filterBy[0]",
    ),
    ("modifier in the name", filter_by(filterParameter="code:not", value="x"), f"{S}.filterBy[0]"),
    ("channel unknown", at("channelType", "code", value="carrier-pigeon"), f"{S}.channelType"),
    ("channel system unknown", at("channelType", "system", value="http://example.org"), f"{S}.channelType"),
    (
        "no such code in HL7's system",
        at("channelType", "code", value="server-sent-events"),
        f"{S}.channelType",
    ),
    ("endpoint private", at("endpoint", value="https://192.168.1.1/"), f"{S}.endpoint"),
    ("endpoint not http", at("endpoint", value="ftp://example.org/"), f"{S}.endpoint"),
    ("maxCount zero", at("maxCount", value=0), f"{S}.maxCount"),
    ("heartbeat too long", at("heartbeatPeriod", value=10**9), f"{S}.heartbeatPeriod"),
    ("content unknown", at("content", value="everything"), f"{S}.content"),
    (
        "other fhirVersion",
        at("contentType", value="application/fhir+json; fhirVersion=4.0"),
        f"{S}.contentType",
    ),
    (
        "header with a line break",
        at("parameter", value=[{"name": "X", "value": "a\nb"}]),
        f"{S}.parameter[0]",
    ),
    ("header reserved", at("parameter", value=[{"name": "Content-Type", "value": "a"}]), f"{S}.parameter[0]"),
    ("entered in error", at("status", value="entered-in-error"), f"{S}.status"),
    ("unknown element", at("colour", value="red"), f"{S}.colour"),
]
REFUSALS = {Release.R4: BACKPORT_REFUSALS, Release.R4B: BACKPORT_REFUSALS, Release.R5: NATIVE_REFUSALS}


async def post(client: httpx.AsyncClient, release: str, body: bytes) -> httpx.Response:
    return await client.post(f"/{release}/Subscription", content=body)


def misfit(response: httpx.Response, release: Release, where: str) -> str:
    """What is wrong with a refusal that has to name the element `where`, '' if nothing is."""
    if not 400 <= response.status_code < 500 or response.json()["resourceType"] != "OperationOutcome":
        return f"{response.status_code} {response.text}"
    read_back(release, response.content)
    places = [place for issue in response.json()["issue"] for place in issue.get("expression", [])]
    return "" if any(place.startswith(where) for place in places) else response.text


async def _check_refusals(client: httpx.AsyncClient, release: Release) -> None:
    wrong: dict[str, str] = {}
    for name, change, where in REFUSALS[release]:
        document = subscription(release, VITALS, NOWHERE)
        change(document)
        problem = misfit(await post(client, release, orjson.dumps(document)), release, where)
        if problem:
            wrong[name] = problem
    assert wrong == {}
    assert (await client.get("/r5/Subscription")).json()["total"] == 0


async def test_a_subscription_that_breaks_a_rule_is_refused_with_the_element_and_not_stored(
    client: httpx.AsyncClient,
) -> None:
    for release in Release:
        await _check_refusals(client=client, release=release)


async def test_a_body_that_is_not_a_subscription_is_refused(client: httpx.AsyncClient) -> None:
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"{}", 422),
        (b'{"resourceType":"Observation"}', 422),
        (b'{"resourceType":"Subscription","status":"requested"}', 422),
    ):
        for release in Release:
            response = await post(client, release, body)
            assert response.status_code == status, (body, response.text)
            read_back(release, response.content)
            assert response.json()["resourceType"] == "OperationOutcome"


async def test_all_problems_are_reported_at_once(client: httpx.AsyncClient) -> None:
    document = subscription("r5", "http://example.org/none", "https://10.1.1.1/", headers=[("Host", "x")])
    response = await post(client, "r5", orjson.dumps(document))
    assert {issue["expression"][0] for issue in response.json()["issue"]} == {
        "Subscription.topic",
        "Subscription.endpoint",
        "Subscription.parameter[0]",
    }


async def test_an_update_that_is_refused_leaves_the_subscription_as_it_was(
    client: httpx.AsyncClient,
) -> None:
    accepted = (await post(client, "r4", orjson.dumps(subscription("r4", VITALS, NOWHERE)))).json()
    url = f"/r4/Subscription/{accepted['id']}"
    before = await client.get(url)
    async with asyncio.timeout(60):  # nobody listens: the failed handshake makes a last version
        while before.json()["status"] != "error":
            await asyncio.sleep(0.02)
            before = await client.get(url)
    for change, status in (
        (at("criteria", value="http://example.org/none"), 422),
        (at("id", value="other"), 400),
        (at("id", value=None), 400),
    ):
        document = orjson.loads(before.content)
        change(document)
        assert (await client.put(url, content=orjson.dumps(document))).status_code == status
    after = await client.get(url)
    assert after.json()["meta"] == before.json()["meta"]
    assert after.json()["criteria"] == VITALS
