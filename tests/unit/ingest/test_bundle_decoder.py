"""Bundles on the inbox stream: a transaction becomes the changes of its entries, anything else is refused."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from broker.errors import RequestError
from broker.fhir.fhirpath_patch import FhirPathPatch
from broker.ingest.decoder import Transaction
from broker.ingest.fhir_decoder import FhirDecoder
from broker.model.json_patch import JsonPatch
from broker.model.precondition import MUST_NOT_EXIST, VersionCondition
from broker.store.inbox import InboxEntry
from tests.unit.ingest.fhirpath_patches import operation
from tests.unit.ingest.fhirpath_patches import parameters as fhirpath_parameters

PATIENT = {"resourceType": "Patient"}


def decode(bundle_type: str, *entries: dict[str, Any], **fields: str) -> Transaction:
    bundle = {"resourceType": "Bundle", "type": bundle_type, "entry": list(entries)}
    values = {"resource": orjson.dumps(bundle)} | {name: value.encode() for name, value in fields.items()}
    decoded = FhirDecoder().decode(InboxEntry("1-0", values))
    assert isinstance(decoded, Transaction)
    return decoded


def entry(method: str, url: str, resource: Any = None, **request: str) -> dict[str, Any]:
    parts = {"fullUrl": f"urn:x:{url}", "request": {"method": method, "url": url, **request}}
    return parts if resource is None else parts | {"resource": resource}


def test_each_entry_is_a_change_with_its_preconditions_and_a_key_of_its_own() -> None:
    entries = decode(
        "transaction",
        entry("POST", "Patient", PATIENT, ifNoneExist="identifier=a|1"),
        entry("PUT", "Patient/p", PATIENT | {"id": "p"}, ifMatch='W/"3"'),
        entry("PUT", "Patient/q?_format=json", PATIENT | {"id": "q"}, ifNoneMatch="*"),
        entry("PUT", "Patient?identifier=a|2", PATIENT),
        entry("DELETE", "Patient/r"),
        entry("DELETE", "Patient?_id=s"),
        key="k",
        tenant="t",
    ).entries
    changes = [each.request for each in entries]
    assert [change.op for change in changes] == ["create", "put", "put", "put", "delete", "delete"]
    assert [change.id for change in changes] == ["", "p", "q", "", "r", ""]
    assert [change.criteria is not None for change in changes] == [True, False, False, True, False, True]
    assert changes[1].condition == VersionCondition("3")
    assert changes[2].condition == MUST_NOT_EXIST
    assert [change.idempotency_key for change in changes] == [f"key:k#{n}" for n in range(6)]
    assert {change.tenant for change in changes} == {"t"}
    assert changes[4].resource is None
    assert entries[0].full_url == "urn:x:Patient"


@pytest.mark.parametrize("bundle_type", ["batch", "collection", "document", "history", "searchset", ""])
def test_other_bundles_are_refused(bundle_type: str) -> None:
    with pytest.raises(RequestError):
        decode(bundle_type, entry("POST", "Patient", PATIENT))


@pytest.mark.parametrize(
    "wrong",
    [
        entry("GET", "Patient/p"),
        entry("PATCH", "Patient/p", PATIENT),
        entry("POST", "Patient/p", PATIENT),
        entry("POST", "Patient?identifier=1", PATIENT),
        entry("PUT", "Patient", PATIENT),
        entry("PUT", "Patient/p?identifier=1", PATIENT),
        entry("PUT", "http://ehr.example/fhir/Patient/p", PATIENT),
        entry("DELETE", "Patient"),
        entry("DELETE", "Patient?name=x"),
        entry("POST", "Sandwich", PATIENT),
        entry("POST", "Device", PATIENT),
        entry("POST", "Subscription", {"resourceType": "Subscription"}),
        entry("POST", "Patient", PATIENT, ifMatch="*"),
        entry("POST", "Patient", PATIENT, ifNoneMatch="*"),
        entry("PUT", "Patient/p", PATIENT | {"id": "p"}, ifNoneExist="identifier=1"),
        entry("PUT", "Patient/p", PATIENT | {"id": "p"}, ifMatch="x"),
        entry("DELETE", "Patient/p", ifModifiedSince="2020-01-01T00:00:00Z"),
    ],
)
def test_an_entry_that_is_not_supported_refuses_the_bundle_and_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        decode("transaction", entry("POST", "Patient", PATIENT), wrong)
    assert all((issue.expression or "").startswith("Bundle.entry[1]") for issue in caught.value.issues)


@pytest.mark.parametrize("resource_type", ["Subscription", "SubscriptionTopic"])
def test_subscriptions_and_topics_are_not_registered_by_the_inbox(resource_type: str) -> None:
    resource = orjson.dumps({"resourceType": resource_type})
    with pytest.raises(RequestError) as caught:
        FhirDecoder().decode(InboxEntry("1-0", {"resource": resource, "release": b"r5"}))
    assert "HTTP" in caught.value.issues[0].text


def test_a_bundle_is_neither_updated_nor_deleted_and_precondition_fields_are_unknown() -> None:
    for fields in ({"interaction": "update"}, {"interaction": "delete"}, {"if-none-exist": "identifier=1"}):
        with pytest.raises(RequestError):
            decode("transaction", entry("POST", "Patient", PATIENT), **fields)


def test_an_entry_may_be_a_patch_of_either_format() -> None:
    operations = orjson.dumps([{"op": "remove", "path": "/name"}])
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": b64encode(operations).decode(),
    }
    parameters = fhirpath_parameters(operation("delete", "Patient.name"))
    entries = decode(
        "transaction",
        entry("PATCH", "Patient/p", binary),
        entry("PATCH", "Patient?identifier=a|1", parameters),
    ).entries
    assert [type(each.request.patch) for each in entries] == [JsonPatch, FhirPathPatch]
    assert [each.request.id for each in entries] == ["p", ""]
