"""The requests for readings, resources and Bundles."""

import json

import pytest

from broker.client import reading, resource


def test_a_reading_is_sent_as_it_is() -> None:
    message = reading(b'{"hr": 72.0}', key="k")
    assert message == ("POST", "readings", "application/json", b'{"hr": 72.0}', "k")
    assert reading("a,b\n1,2\n", content_type="text/csv").content_type == "text/csv"
    assert json.loads(reading({"text": "é"}).body) == {"text": "é"}


def test_a_resource_is_created_or_updated_and_a_bundle_goes_to_the_base() -> None:
    created = resource({"resourceType": "Observation"})
    assert (created.method, created.path) == ("POST", "r4/Observation")
    updated = resource('{"resourceType": "Patient", "id": "7", "x": 1.50}', release="r5")
    assert (updated.method, updated.path) == ("PUT", "r5/Patient/7")
    assert b"1.50" in updated.body
    batch = resource({"resourceType": "Bundle", "type": "batch"})
    assert (batch.method, batch.path) == ("POST", "r4")


@pytest.mark.parametrize("document", ["[]", "{}", '{"resourceType": 7}', "no JSON"])
def test_what_is_no_resource_is_refused_at_once(document: str) -> None:
    with pytest.raises(ValueError):
        resource(document)


def test_each_message_has_a_key_that_a_header_can_carry() -> None:
    assert reading({}).key != reading({}).key
    for key in ("x" * 257, "é", "a\nb"):
        with pytest.raises(ValueError, match="printable ASCII"):
            reading({}, key=key)
