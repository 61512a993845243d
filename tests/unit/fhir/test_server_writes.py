"""The requests that write resources to another server: what is changed in a resource, and what is not."""

from typing import Any

import orjson
import pytest

from broker.fhir.identifiers import IdentifierToken
from broker.fhir.server_writes import (
    DeleteMode,
    NotWritable,
    Skipped,
    WriteItem,
    WriteMode,
    WriteRequest,
    WriteRules,
    identifier_query,
    transaction,
    with_references,
    write_request,
)
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.resource import Resource

SYSTEM = "https://broker.example/ids"
BY_BROKER = WriteRules(Release.R4, WriteMode.CONDITIONAL_UPDATE, DeleteMode.REFUSE, SYSTEM)
BY_OWN = BY_BROKER._replace(identifier_system="")
BY_ID = BY_BROKER._replace(mode=WriteMode.UPDATE)
ONCE = BY_BROKER._replace(mode=WriteMode.CONDITIONAL_CREATE)
TEXT = (
    b'{"resourceType":"Observation","id":"o1","meta":{"versionId":"3","lastUpdated":"2026-01-01T00:00:00Z",'
    b'"tag":[{"code":"x"}]},"identifier":[{"system":"urn:dev","value":"7|a"}],'
    b'"subject":{"reference":"Patient/1"},"valueQuantity":{"value":36.50}}'
)


def item(text: bytes = TEXT, interaction: Interaction = Interaction.CREATE) -> WriteItem:
    resource = Resource(text)
    return WriteItem(4, interaction, resource.type, resource.id, resource)


def sent(request: WriteRequest | NotWritable | Skipped) -> tuple[WriteRequest, dict[str, Any]]:
    assert isinstance(request, WriteRequest)
    assert request.resource is not None
    return request, orjson.loads(request.resource.text)


def test_a_conditional_update_has_the_identifier_of_the_broker_in_url_and_resource() -> None:
    request, resource = sent(write_request(item(), BY_BROKER))
    url = "Observation?identifier=https%3A%2F%2Fbroker.example%2Fids%7CObservation%2Fo1"
    assert (request.method, request.url, request.if_none_exist) == ("PUT", url, "")
    assert resource["identifier"] == [
        {"system": "urn:dev", "value": "7|a"},
        {"system": SYSTEM, "value": "Observation/o1"},
    ]
    assert "id" not in resource
    assert resource["meta"] == {"tag": [{"code": "x"}]}


def test_what_is_not_changed_keeps_its_spelling() -> None:
    request, _ = sent(write_request(item(), BY_BROKER))
    assert request.resource is not None
    assert b'"value":36.50' in request.resource.text
    with_version_only = b'{"resourceType":"Observation","id":"o1","meta":{"versionId":"3"}}'
    assert "meta" not in sent(write_request(item(with_version_only), BY_BROKER))[1]


def test_without_a_system_of_the_broker_the_first_identifier_of_the_resource_counts() -> None:
    request, resource = sent(write_request(item(), BY_OWN))
    assert request.url == "Observation?identifier=urn%3Adev%7C7%5C%7Ca"
    assert len(resource["identifier"]) == 1
    without = b'{"resourceType":"Observation","id":"o1","identifier":[{"value":"7"}]}'
    assert isinstance(write_request(item(without), BY_OWN), NotWritable)


def test_an_update_by_id_keeps_the_id_and_adds_no_identifier() -> None:
    request, resource = sent(write_request(item(interaction=Interaction.UPDATE), BY_ID))
    assert (request.method, request.url, resource["id"]) == ("PUT", "Observation/o1", "o1")
    assert len(resource["identifier"]) == 1


def test_a_conditional_create_never_updates() -> None:
    request, _ = sent(write_request(item(), ONCE))
    assert (request.method, request.url) == ("POST", "Observation")
    assert request.if_none_exist == identifier_query(IdentifierToken(SYSTEM, "Observation/o1"))
    assert isinstance(write_request(item(interaction=Interaction.UPDATE), ONCE), NotWritable)


@pytest.mark.parametrize(
    ("rules", "url"),
    [
        (BY_ID, "Observation/o1"),
        (BY_BROKER, "Observation?" + identifier_query(IdentifierToken(SYSTEM, "Observation/o1"))),
    ],
)
def test_a_deletion_is_sent_skipped_or_refused_as_the_rules_say(rules: WriteRules, url: str) -> None:
    deleted = WriteItem(4, Interaction.DELETE, "Observation", "o1", None)
    request = write_request(deleted, rules._replace(deletes=DeleteMode.SEND))
    assert isinstance(request, WriteRequest)
    assert (request.method, request.url, request.resource) == ("DELETE", url, None)
    assert write_request(deleted, rules._replace(deletes=DeleteMode.SKIP)) == Skipped(deleted)
    assert isinstance(write_request(deleted, rules), NotWritable)


def test_a_resource_that_is_not_stored_any_more_is_not_written() -> None:
    missing = WriteItem(4, Interaction.UPDATE, "Observation", "o1", None)
    assert isinstance(write_request(missing, BY_BROKER), NotWritable)


def test_a_type_without_identifiers_is_written_by_id_only() -> None:
    binary = item(b'{"resourceType":"Binary","id":"b1","contentType":"text/plain"}')
    assert isinstance(write_request(binary, BY_BROKER), NotWritable)
    assert isinstance(write_request(binary, BY_ID), WriteRequest)


def test_a_type_with_room_for_one_identifier_keeps_its_own() -> None:
    own = item(b'{"resourceType":"QuestionnaireResponse","id":"q1","identifier":{"system":"s","value":"v"}}')
    assert sent(write_request(own, BY_BROKER))[0].url == "QuestionnaireResponse?identifier=s%7Cv"
    _, resource = sent(write_request(item(b'{"resourceType":"QuestionnaireResponse","id":"q1"}'), BY_BROKER))
    assert resource["identifier"] == {"system": SYSTEM, "value": "QuestionnaireResponse/q1"}


def test_the_same_item_gives_the_same_request() -> None:
    assert write_request(item(), BY_BROKER) == write_request(item(), BY_BROKER)


def test_a_transaction_has_the_requests_in_their_order() -> None:
    update = write_request(item(), BY_BROKER)
    create = write_request(item(), ONCE)
    deletion = write_request(
        WriteItem(5, Interaction.DELETE, "Observation", "o2", None), BY_ID._replace(deletes=DeleteMode.SEND)
    )
    assert isinstance(update, WriteRequest)
    assert isinstance(create, WriteRequest)
    assert isinstance(deletion, WriteRequest)
    bundle = orjson.loads(transaction([update, create, deletion]))
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
    assert [entry["request"] for entry in bundle["entry"]] == [
        {"method": "PUT", "url": update.url},
        {"method": "POST", "url": "Observation", "ifNoneExist": create.if_none_exist},
        {"method": "DELETE", "url": "Observation/o2"},
    ]
    assert ["resource" in entry for entry in bundle["entry"]] == [True, True, False]
    assert bundle["entry"][0]["fullUrl"].startswith("urn:uuid:")


def test_references_are_replaced_and_nothing_else() -> None:
    request, _ = sent(write_request(item(), BY_BROKER))
    _, resource = sent(with_references(request, {"Patient/1": "Patient/9f"}, {}))
    assert resource["subject"] == {"reference": "Patient/9f"}
    assert with_references(request, {}, {}) is request


def test_values_are_escaped_for_the_search_and_for_the_url() -> None:
    assert identifier_query(IdentifierToken("s", "a,b$c\\d e&f")) == (
        "identifier=s%7Ca%5C%2Cb%5C%24c%5C%5Cd%20e%26f"
    )
    assert identifier_query(IdentifierToken("s", "1"), IdentifierToken("", "2")) == (
        "identifier=s%7C1%2C%7C2"
    )
