"""The type and id of a resource, checked against what a request names."""

import pytest

from broker.errors import Malformed, Unprocessable
from broker.fhir.identity import check_id, check_type
from broker.model.resource import Resource


def test_a_resource_of_another_type_is_refused() -> None:
    check_type(Resource(b'{"resourceType":"Patient"}'), "Patient")
    for text, code in ((b'{"resourceType":"Patient"}', "invalid"), (b"{}", "required")):
        with pytest.raises(Unprocessable) as caught:
            check_type(Resource(text), "Observation")
        assert (caught.value.issues[0].code, caught.value.issues[0].expression) == (code, "resourceType")


@pytest.mark.parametrize("resource_id", ["a", "A-1.b", "x" * 64])
def test_ids_are_accepted(resource_id: str) -> None:
    check_id(resource_id)


@pytest.mark.parametrize("resource_id", ["", "x" * 65, "a/b", "a b", "a\n", "é", "a_b"])
def test_a_text_that_is_not_an_id_is_refused(resource_id: str) -> None:
    with pytest.raises(Malformed):
        check_id(resource_id)
