"""Sends mutated documents through the API of a broker in this process: `python -m tests.fuzz.mutants COUNT`.

A document is a well-formed one with one to four changes. Which ones, a seed decides, so that a finding can be
repeated. The law: no answer is a 5xx, every body is a JSON object, and none takes more than `LIMIT_S` of
processor time.
"""

import argparse
import copy
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from broker.testing.registration import subscription
from tests.fuzz.broker_app import APP
from tests.fuzz.samples import ENCOUNTER, OBSERVATION, PATIENT
from tests.fuzz.target import LIMIT_S, TooSlow

SEED = 228
_FHIR = (("Content-Type", "application/fhir+json"),)
_PATCH = (("Content-Type", "application/json-patch+json"),)
_TOPIC = "http://hl7.org/SubscriptionTopic/admission"
_ENDPOINT = "http://127.0.0.1:9/"
_ODD: Sequence[Any] = (
    None, True, -1, 0, 1e308, 10**30, 0.1, "", " ", "\u0000", "\ud83d\ude00", "a" * 5_000,
    "Patient/1", "urn:uuid:a", "2024-13-45", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "http://[::1", "https://a\r\nb: c", "../../etc/passwd", "<div>", "' or 1=1", "(a+)+$",
    "$this.repeat(children())", [], {}, [[]], [None], {"": {}},
    {"extension": [{"url": "a"}]}, {"resourceType": "Patient"}, {"reference": "#a"},
)  # fmt: skip


class Document(NamedTuple):
    """A request with a body."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: Any


class Result(NamedTuple):
    """How many answers had a status, and the most processor time that one took."""

    statuses: Counter[int]
    slowest_s: float


def _bundle(kind: str, *resources: Any) -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"urn:uuid:{n}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for n, resource in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def _parameters(name: str, resource: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [{"name": name, "resource": resource}]}


def _topic() -> dict[str, Any]:
    trigger = {
        "resource": "Observation",
        "supportedInteraction": ["create"],
        "queryCriteria": {"current": "status=final", "resultForCreate": "test-passes"},
        "fhirPathCriteria": "%current.status = 'final'",
    }
    return {
        "resourceType": "SubscriptionTopic",
        "id": "t",
        "url": "http://example.org/t",
        "status": "active",
        "resourceTrigger": [trigger],
        "canFilterBy": [{"resource": "Observation", "filterParameter": "code", "modifier": ["not"]}],
        "notificationShape": [{"resource": "Observation", "include": ["Observation:subject"]}],
    }


def _documents() -> list[Document]:
    readings = [OBSERVATION, PATIENT, ENCOUNTER]
    found = [
        Document("POST", f"/{release}/{resource['resourceType']}", _FHIR, resource)
        for release in ("r4", "r4b", "r5")
        for resource in readings
    ]
    for release in ("r4", "r4b", "r5"):
        subscribed = subscription(release, _TOPIC, _ENDPOINT, filters=["patient=Patient/1"], heartbeat_s=60)
        found += [
            Document("PUT", f"/{release}/Observation/reading", _FHIR, OBSERVATION),
            Document("POST", f"/{release}/Subscription", _FHIR, subscribed),
            Document("PUT", f"/{release}/Subscription/s", _FHIR, subscribed | {"id": "s"}),
            Document(
                "POST", f"/{release}/Subscription/$dry-run", _FHIR, _parameters("subscription", subscribed)
            ),
            Document(
                "POST", f"/{release}/Observation/$validate", _FHIR, _parameters("resource", OBSERVATION)
            ),
            Document("POST", f"/{release}", _FHIR, _bundle("batch", *readings)),
            Document("POST", f"/{release}", _FHIR, _bundle("transaction", *readings)),
        ]
    patch = [{"op": "replace", "path": "/status", "value": "amended"}]
    found += [
        Document("PUT", "/r5/SubscriptionTopic/t", _FHIR, _topic()),
        Document("PATCH", "/r4/Observation/reading", _PATCH, patch),
    ]
    return found


def mutants(count: int, seed: int = SEED) -> Iterator[tuple[Document, bytes]]:
    """So many documents and their mutated bodies, the same for the same seed."""
    chance = random.Random(seed)
    documents = _documents()
    for n in range(count):
        document = documents[n % len(documents)]
        value = copy.deepcopy(document.body)
        for _ in range(chance.randint(1, 4)):
            value = _mutated(value, chance)
        body = json.dumps(value).encode()
        yield document, _scrambled(body, chance) if chance.random() < 0.2 else body


def _mutated(value: Any, chance: random.Random) -> Any:
    """The value with one change, at a place that chance chooses."""
    places = list(_places(value))
    if not places:
        return copy.deepcopy(chance.choice(_ODD))
    container, key = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del container[key]
        case 1:
            container[key] = [copy.deepcopy(container[key])] * chance.choice((1, 2, 50))
        case 2 if isinstance(container, dict):
            container[chance.choice((f"_{key}", f"{key}x", "id", "extension", "contained"))] = copy.deepcopy(
                container[key]
            )
        case 3:
            other_container, other = chance.choice(places)
            container[key] = copy.deepcopy(other_container[other])
        case 4:
            for _ in range(chance.choice((1, 5, 70))):
                container[key] = {"extension": [container[key]]}
        case _:
            container[key] = copy.deepcopy(chance.choice(_ODD))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member and item below the value: what holds it, and its name or index."""
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], dict | list):
                waiting.append(container[key])


def _scrambled(body: bytes, chance: random.Random) -> bytes:
    """The bytes cut off, with some of them changed, or with a piece twice."""
    at, end = sorted(chance.choices(range(len(body) + 1), k=2))
    match chance.randrange(3):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + chance.randbytes(min(8, end - at)) + body[min(end, at + 8) :]
        case _:
            return body[:end] + body[at:]


def send(count: int, seed: int = SEED) -> Result:
    """Sends so many mutants; raises `AssertionError` for an answer that breaks the law."""
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    for document in _documents():  # the first of a kind imports classes and fills caches
        APP.request(document.method, document.path, document.headers, json.dumps(document.body).encode())
    for document, body in mutants(count, seed):
        started_s = time.process_time()
        answer = APP.request(document.method, document.path, document.headers, body)
        spent_s = time.process_time() - started_s
        if spent_s > LIMIT_S:
            raise TooSlow(f"{document.method} {document.path} took {spent_s:.1f} s: {body[:2_000]!r}")
        slowest_s = max(slowest_s, spent_s)
        statuses[answer.status] += 1
    return Result(statuses, slowest_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.mutants", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    try:
        result = send(arguments.count, arguments.seed)
    finally:
        APP.stop()
    answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(result.statuses.items()))
    text = f"{result.statuses.total():,} documents; slowest {result.slowest_s:.3f} s of processor time"
    print(f"{text}; {answers}")  # noqa: T201 the output of the program


if __name__ == "__main__":
    main()
