"""`broker/fhir/elements.tsv` says of every type what the classes of fhir.resources say."""

import pytest

from broker.fhir.element_tables import NESTED, table_of_resource, table_of_type
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.model.release import Release
from tests.fhir.library_elements import ELEMENTS, text


def test_the_file_has_the_elements_of_the_library() -> None:
    """If the library was updated for good: `python -m tests.fhir.library_elements` writes the file again."""
    expected, actual = text().splitlines(), ELEMENTS.read_text(encoding="utf-8").splitlines()
    assert set(expected) ^ set(actual) == set()
    assert expected == actual


@pytest.mark.parametrize("release", Release)
def test_every_resource_type_has_a_table_whose_types_have_tables(release: Release) -> None:
    pending, seen = set(RESOURCE_TYPES[release]), set[str]()
    if release is Release.R4:
        assert all(table_of_resource(release, name) is None for name in UNMODELLED)
        pending -= UNMODELLED
    while pending:
        name = pending.pop()
        seen.add(name)
        table = table_of_type(release, name)
        assert table.is_resource == (name in RESOURCE_TYPES[release])
        inner = {element.type_name for element in table.elements.values() if element.has_elements}
        assert NESTED not in inner
        pending |= inner - seen
    assert {"Element", "Extension", "Meta", "ObservationComponent"} - seen <= {"Element"}
    assert ("RatioRange" in seen) is (release is not Release.R4)


def test_an_element_has_its_type_cardinality_choice_and_place_in_a_summary() -> None:
    elements = table_of_type(Release.R4, "Observation").elements
    status, category, value = elements["status"], elements["category"], elements["valueQuantity"]
    assert (status.type_name, status.is_required, status.is_list, status.is_summary) == (
        "code",
        True,
        False,
        True,
    )
    assert (category.type_name, category.is_required, category.is_list, category.is_summary) == (
        "CodeableConcept",
        False,
        True,
        False,
    )
    assert (value.type_name, value.choice, value.is_primitive) == ("Quantity", "value", False)


@pytest.mark.parametrize("release", [Release.R4, Release.R4B])
def test_an_open_choice_of_r4_and_r4b_allows_meta(release: Release) -> None:
    assert table_of_type(release, "Extension").elements["valueMeta"].choice == "value"


def test_an_unknown_type_has_no_table() -> None:
    assert table_of_resource(Release.R5, "Nothing") is None
    with pytest.raises(KeyError):
        table_of_type(Release.R5, "Nothing")
