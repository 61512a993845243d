"""Requests of a batch or transaction Bundle, and what is reported about a Bundle that can't be read."""

import orjson
import pytest

from broker.errors import Malformed, RequestError, Unprocessable
from broker.fhir.bundle_requests import BundleRequest, parse_bundle
from broker.model.resource import Resource


def bundle(*entries: object, kind: str = "transaction") -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def test_bundle_requests_are_read_with_their_resources_as_bytes() -> None:
    body = (
        b'{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","resource":'
        b'{"resourceType":"Observation","valueQuantity":{"value":2.00}},"request":{"method":"POST",'
        b'"url":"Observation","ifNoneExist":"identifier=s|1"}},'
        b'{"request":{"method":"DELETE","url":"Patient/1","ifMatch":"W/\\"2\\""}}]}'
    )
    parsed = parse_bundle(Resource(body))
    assert parsed.type == "transaction"
    first, second = parsed.entries
    assert first.resource == Resource(b'{"resourceType":"Observation","valueQuantity":{"value":2.00}}')
    assert (first.full_url, first.method, first.url) == ("urn:uuid:1", "POST", "Observation")
    assert first.if_none_exist == "identifier=s|1"
    assert (second.method, second.if_match, second.resource) == ("DELETE", 'W/"2"', None)


def test_a_bundle_may_be_empty() -> None:
    body = b'{"resourceType":"Bundle","type":"batch"}'
    assert parse_bundle(Resource(body)) == BundleRequest("batch", ())


GOOD = {"request": {"method": "GET", "url": "Patient/1"}}


@pytest.mark.parametrize(
    ("body", "error", "expressions"),
    [
        (b'{"resourceType":"Patient"}', Unprocessable, ["Bundle.resourceType"]),
        (bundle(kind="history"), Unprocessable, ["Bundle.type"]),
        (b'{"resourceType":"Bundle"}', Unprocessable, ["Bundle.type"]),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', Malformed, ["Bundle.entry"]),
        (bundle(GOOD, 3), Malformed, ["Bundle.entry[1]"]),
        (bundle(GOOD, {}), Unprocessable, ["Bundle.entry[1].request"]),
        (bundle({"request": []}), Malformed, ["Bundle.entry[0].request"]),
        (bundle({"request": {"method": 1, "url": "x"}}), Malformed, ["Bundle.entry[0].request.method"]),
        (
            bundle(GOOD, GOOD, {"request": {"method": "post"}}),
            Unprocessable,
            ["Bundle.entry[2].request.method", "Bundle.entry[2].request.url"],
        ),
        (
            bundle({"request": {"method": "PUT", "url": "Patient/1"}}),
            Unprocessable,
            ["Bundle.entry[0].resource"],
        ),
        (bundle({**GOOD, "resource": []}), Malformed, ["Bundle.entry[0].resource"]),
        (
            bundle({**GOOD, "fullUrl": "urn:a"}, {**GOOD, "fullUrl": "urn:a"}),
            Unprocessable,
            ["Bundle.entry[1].fullUrl"],
        ),
        (bundle({}, 1), Malformed, ["Bundle.entry[1]", "Bundle.entry[0].request"]),
    ],
)
def test_errors_in_a_bundle_are_reported_with_their_elements(
    body: bytes, error: type[RequestError], expressions: list[str]
) -> None:
    with pytest.raises(error) as caught:
        parse_bundle(Resource(body))
    assert [issue.expression for issue in caught.value.issues] == expressions
