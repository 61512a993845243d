"""FHIRPath criteria that name an element which does not exist are refused, and no others."""

import pytest

from broker.matching.fhirpath import BadExpression, check_criteria


@pytest.mark.parametrize(
    ("resource_type", "expression", "named"),
    [
        ("Encounter", "%current.sttus = 'finished'", "sttus, which is not an element of Encounter"),
        ("Encounter", "%previous.sttus.empty()", "sttus"),
        ("Encounter", "sttus.exists()", "sttus"),
        ("Encounter", "Encounter.sttus = 'finished'", "sttus"),
        ("Encounter", "%current.location.where(stats = 'active').exists()", "stats, .* EncounterLocation"),
        ("Encounter", "%current.location.where(%current.sttus = 'finished').exists()", "sttus"),
        ("Encounter", "iif(%current.sttus = 'finished', true, false)", "sttus"),
        ("Encounter", "%current.location.first().locaton.exists()", "locaton"),
        ("Observation", "%current.value.vlaue > 5", "vlaue"),
        ("Observation", "%current.code.coding.exists(sytem = 'http://loinc.org')", "sytem"),
        ("Observation", "%current.code.coding.select(cde) contains 'x'", "cde"),
        ("Patient", "%current.birthDate.extention.exists()", "extention"),
    ],
)
def test_an_element_that_no_release_has_is_named(resource_type: str, expression: str, named: str) -> None:
    with pytest.raises(BadExpression, match=named):
        check_criteria(expression, resource_type)


@pytest.mark.parametrize(
    ("resource_type", "expression"),
    [
        ("Encounter", "%current.hospitalization.exists()"),  # of R4
        ("Encounter", "%current.admission.exists()"),  # of R5
        ("Encounter", "%current.`class`.exists()"),
        ("Encounter", "%current.resourceType = 'Encounter'"),
        ("Encounter", "%current.status.extension.exists()"),
        ("Encounter", "%current.status.value = 'finished'"),
        ("Encounter", "%current.contained.name.exists()"),
        ("Encounter", "%current.location.where(status = 'active' and %previous.status = 'planned').exists()"),
        ("Encounter", "%current.extension.where(url = 'http://x').value = 'y'"),
        ("Encounter", "%current.subject.resolve().name.exists()"),
        ("Observation", "%current.valueQuantity.value > 5"),
        ("Observation", "%current.value.ofType(Quantity).value > 5"),
        ("Observation", "(%current.value as Quantity).value > 5"),
        ("Observation", "%current.value is Quantity"),
        ("Observation", "%current.code.coding.all(system = 'http://loinc.org' and $this.code.exists())"),
        ("Evidence", "%current.anything.exists()"),  # the elements of R4 are not known
        ("*", "%current.anything.exists()"),
    ],
)
def test_an_element_that_some_release_has_or_may_have_is_accepted(
    resource_type: str, expression: str
) -> None:
    check_criteria(expression, resource_type)
