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


@pytest.mark.parametrize("text", ["1", "Encounter/1", "", "#a", "Patient/", "Patient/1/2"])
def test_an_unclear_reference_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        references.parse_reference(text, ("Patient", "Device"), BASES)
