"""The response to a batch or transaction Bundle."""

import orjson

from broker.fhir.bundle_responses import BundleResult, render_bundle_response
from broker.model.resource import Resource


def test_a_bundle_response_carries_each_result_in_order() -> None:
    rendered = render_bundle_response(
        "batch",
        [
            BundleResult(
                "201 Created",
                location="Observation/1/_history/1",
                etag='W/"1"',
                last_modified_ms=1_700_000_000_123,
                resource=Resource(b'{"resourceType":"Observation","valueQuantity":{"value":2.00}}'),
            ),
            BundleResult("422 Unprocessable Entity", outcome=b'{"resourceType":"OperationOutcome"}'),
        ],
    )
    assert b"2.00" in rendered
    assert orjson.loads(rendered) == {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [
            {
                "resource": {"resourceType": "Observation", "valueQuantity": {"value": 2.0}},
                "response": {
                    "status": "201 Created",
                    "location": "Observation/1/_history/1",
                    "etag": 'W/"1"',
                    "lastModified": "2023-11-14T22:13:20.123Z",
                },
            },
            {
                "response": {
                    "status": "422 Unprocessable Entity",
                    "outcome": {"resourceType": "OperationOutcome"},
                }
            },
        ],
    }
    empty = render_bundle_response("transaction", [])
    assert orjson.loads(empty) == {"resourceType": "Bundle", "type": "transaction-response"}
