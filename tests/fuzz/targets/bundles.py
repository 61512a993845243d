"""Batches and transactions: processed, or refused as a whole. The first line is the release."""

import json
from typing import Any

from broker.model.release import Release
from tests.fuzz.broker_app import APP
from tests.fuzz.target import Target

_HEADERS = (("Content-Type", "application/fhir+json"),)


def check(data: bytes) -> None:
    release, _, body = data.partition(b"\n")
    base = release.decode("latin-1")
    APP.request("POST", f"/{base if base in set(Release) else 'r4'}", _HEADERS, body)


def _entry(method: str, url: str, resource: dict[str, Any] | None = None, **request: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"request": {"method": method, "url": url} | request}
    return entry if resource is None else entry | {"resource": resource}


def _bundle(kind: str, *entries: dict[str, Any]) -> str:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})


_PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:a", "value": "1"}]}
_READING = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"text": "x"},
    "subject": {"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"},
}
_NAMED = {"fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"}
_CREATE = _entry("POST", "Observation", _READING)
_CONDITIONAL = _READING | {"subject": {"reference": "Patient?identifier=urn:a|1"}}
TARGET = Target(
    check,
    [
        "r4\n" + _bundle("transaction", _NAMED | _entry("POST", "Patient", _PATIENT), _CREATE),
        "r4\n"
        + _bundle("transaction", _entry("POST", "Patient", _PATIENT, ifNoneExist="identifier=urn:a|1")),
        "r4\n" + _bundle("transaction", _entry("POST", "Observation", _CONDITIONAL)),
        "r5\n" + _bundle("batch", _entry("GET", "Patient/a"), _entry("DELETE", "Patient/a", ifMatch='W/"1"')),
        "r5\n" + _bundle("batch", _entry("GET", "Subscription?_id=a"), _entry("PUT", "Patient/b", _PATIENT)),
        "r4b\n" + _bundle("batch", _entry("PUT", "Patient/b", _PATIENT | {"id": "b"}, ifNoneMatch="*")),
        "r4\n" + _bundle("batch", _entry("POST", "$dead-letters"), _entry("PATCH", "Patient/a", _PATIENT)),
        "r4\n"
        + _bundle("transaction", _entry("PUT", "Patient?_id=a", _PATIENT), _entry("DELETE", "Patient?a=b")),
        'r4\n{"resourceType":"Bundle","type":"batch","entry":[null,1,{},{"request":[]},{"resource":1}]}',
        'r4\n{"resourceType":"Bundle","type":["batch"],"entry":{}}',
        'r4\n{"resourceType":"Bundle","type":"batch"}',
        'r4\n{"resourceType":"Bundle","type":"transaction","entry":[]}',
        "r4\n",
    ],
    """
    "transaction" "batch" "history" "entry":[ "request":{ "method":"PUT" "url":"Patient/a"
    "fullUrl":"urn:uuid: "ifMatch":"W/ "ifNoneExist":"identifier= null {} [] "resource":{ ? %
    """,
    max_bytes=2500,
)
