"""References and their normal form."""

import pytest

from broker.matching import references
from broker.matching.values import BadValue

BASES = frozenset({"http://broker.example/r4", "http://broker.example/r5/"})


@pytest.mark.parametrize(
    ("text", "targets", "reference"),
    [
        ("Patient/1", (), "Patient/1"),
        ("1", ("Patient",), "Patient/1"),
        ("http://broker.example/r4/Patient/1", ("Patient",), "Patient/1"),
        ("http://broker.example/r5/Patient/1/_history/3", (), "Patient/1"),
        ("http://other.example/Patient/1", ("Patient",), "http://other.example/Patient/1"),
    ],
)
def test_all_forms_of_a_reference_have_the_same_normal_form(
    text: str, targets: tuple[str, ...], reference: str
) -> None:
    assert references.parse_reference(text, targets, BASES) == reference


@pytest.mark.parametrize(
    "text",
    [
        *("1", "Encounter/1", "", "#a", "Patient/", "Patient/1/2", "Patient/ 1", "Patient/a_b"),
        *("Patient/1|2", "http://hospital.example/mrn|12345", "urn:oid:1.2.3|12345"),
    ],
)
def test_an_unclear_reference_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        references.parse_reference(text, ("Patient", "Device"), BASES)


@pytest.mark.parametrize("text", ["MRN|1", "|1", "a b", "a,b"])
def test_an_identifier_is_no_reference(text: str) -> None:
    with pytest.raises(BadValue):
        references.parse_reference(text, ("Patient",), BASES)


@pytest.mark.parametrize("targets", [(), ("PlanDefinition",), ("Patient", "PlanDefinition")])
def test_a_canonical_may_end_in_a_version(targets: tuple[str, ...]) -> None:
    assert references.parse_reference("http://a.example/b|1.0", targets, BASES) == "http://a.example/b|1.0"
