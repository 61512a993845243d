"""The contract of an inbox entry: its fields, their defaults, and what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from broker.errors import Malformed, RequestError, Unprocessable
from broker.ingest.decoder import Transaction
from broker.ingest.fhir_decoder import INBOX, FhirDecoder
from broker.ingest.requests import ChangeRequest
from broker.model.release import Release
from broker.model.resource import Resource


@dataclass(frozen=True)
class Entry:
    id: str
    fields: Mapping[str, bytes]


def decoded(**fields: str) -> ChangeRequest:
    requests = FhirDecoder().decode(Entry("1-0", {name: value.encode() for name, value in fields.items()}))
    assert not isinstance(requests, Transaction)
    (request,) = requests
    return request


PATIENT = '{"resourceType":"Patient","id":"p"}'


def test_an_entry_with_a_resource_alone_is_a_create_in_r4_whose_key_is_the_entry() -> None:
    assert decoded(resource=PATIENT) == ChangeRequest(
        tenant=decoded(resource=PATIENT).tenant,
        release=Release.R4,
        op="create",
        type="Patient",
        id="",
        resource=Resource(PATIENT.encode()),
        idempotency_key="entry:1-0",
        requester=INBOX,
    )


def test_an_update_has_the_id_of_the_resource_and_a_delete_has_no_resource() -> None:
    update = decoded(resource=PATIENT, interaction="update", release="r5", tenant="ward-3", key="k")
    assert (update.op, update.id, update.release, update.tenant) == ("put", "p", Release.R5, "ward-3")
    assert update.idempotency_key == "key:k"
    delete = decoded(resource=PATIENT, interaction="delete")
    assert (delete.op, delete.id, delete.resource) == ("delete", "p", None)


@pytest.mark.parametrize(
    ("fields", "error", "expression"),
    [
        ({"resource": PATIENT, "id": "p"}, Malformed, None),
        ({}, Malformed, "resource"),
        ({"resource": ""}, Malformed, "resource"),
        ({"resource": "{"}, Malformed, None),
        ({"resource": PATIENT, "interaction": "patch"}, Malformed, "interaction"),
        ({"resource": PATIENT, "release": "r6"}, Malformed, "release"),
        ({"resource": PATIENT, "tenant": "a b"}, Malformed, "tenant"),
        ({"resource": '{"resourceType":"Patients"}'}, Unprocessable, "resourceType"),
        ({"resource": '{"resourceType":"Patient"}', "interaction": "update"}, Unprocessable, "Patient.id"),
    ],
)
def test_an_entry_that_breaks_the_contract_is_refused_with_its_field(
    fields: dict[str, str], error: type[RequestError], expression: str | None
) -> None:
    with pytest.raises(error) as caught:
        decoded(**fields)
    assert caught.value.issues[0].expression == expression
