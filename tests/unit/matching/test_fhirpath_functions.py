"""No FHIRPath criteria stop a matcher: dangerous ones are refused, or end after limited work."""

from decimal import Decimal
from typing import Any

import pytest

from broker.matching.fhirpath import MAX_STEPS, BadExpression, check_criteria, evaluate_fhirpath
from broker.matching.problems import EvaluationFailed
from broker.model.release import Release

RATE = {"value": Decimal("38.5"), "unit": "C", "system": "http://unitsofmeasure.org", "code": "Cel"}
READING: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "valueQuantity": RATE,
    "effectiveDateTime": "2024-03-01T08:00:00Z",
    "component": [{"code": {"coding": [{"system": "s", "code": str(n)}]}} for n in range(3000)],
}
NUMBERS = "|".join(map(str, range(40)))


def evaluate(expression: str, previous: dict[str, Any] | None = None) -> bool:
    return evaluate_fhirpath(expression, previous, READING, Release.R4)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("%current.status.repeat($this & 'a').exists()", "repeat"),
        ("%current.trace('x').exists()", "print"),
        ("%current.value > 37.5 'Cel'", "compare .value"),
        ("%current.value = 38.5 'Cel'", "compare .value"),
        ("5 days > 3 days", "compare .value"),
        ("%current.value.toQuantity() = %previous.value.toQuantity()", "compare .value"),
        ("%current.value.convertsToQuantity()", "compare .value"),
        ("%current.status.matches('(?<=x)y')", "regular expression"),
        (r"%current.status.matches('(a)\\1')", "regular expression"),
        ("%current.status.matches('(')", "regular expression"),
        ("%current.status.replaceMatches('[', 'x') = 'y'", "regular expression"),
        ("%current" + ".status" * (MAX_STEPS + 1), "points and brackets"),
        ("%current.component.count()", "not a boolean"),
        ("(%current.component.count())", "not a boolean"),
        ("%current.status & 'x'", "not a boolean"),
        ("'final'", "not a boolean"),
        ("5", "not a boolean"),
    ],
)
def test_criteria_that_cannot_be_evaluated_are_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(BadExpression, match=reason):
        check_criteria(expression)


@pytest.mark.parametrize(
    ("resource_type", "expression", "type_name"),
    [
        ("Encounter", "%current.status", "code"),
        ("Encounter", "(status)", "code"),
        ("Encounter", "$this.status", "code"),
        ("Encounter", "Encounter.status", "code"),
        ("Encounter", "%previous", "Encounter"),
        ("Patient", "%current.name[0].given", "string"),
        ("Patient", "name.where(use = 'official').first()", "HumanName"),
        ("Patient", "name.select(family)", "string"),
        ("Patient", "contact.gender", "code"),
        ("Patient", "iif(%current.active, %current.gender, %previous.gender)", "code"),
        ("Observation", "%current.effective", "dateTime"),
        ("DeviceMetric", "%current.source", "Reference"),
        ("DeviceMetric", "%current.device", "Reference"),
    ],
)
def test_criteria_that_name_an_element_of_another_type_are_refused(
    resource_type: str, expression: str, type_name: str
) -> None:
    with pytest.raises(BadExpression, match=f"{type_name}.* is not a boolean"):
        check_criteria(expression, resource_type)


@pytest.mark.parametrize(
    ("resource_type", "expression"),
    [
        ("Patient", "%current.active"),
        ("Patient", "active"),
        ("Patient", "%current.deceased"),
        ("Patient", "deceased.first()"),
        ("Patient", "iif(%current.active, %current.active, %previous.gender)"),
        ("Observation", "%current.value"),
        ("Observation", "%current.component.where(code.text = 'x').value"),
        ("Observation", "%current.code.exists() and %current.status"),
        ("*", "%current.status"),
    ],
)
def test_criteria_that_may_be_a_boolean_are_accepted(resource_type: str, expression: str) -> None:
    check_criteria(expression, resource_type)


@pytest.mark.parametrize(
    "expression",
    [
        "'aa'" + ".encode('hex')" * 40 + ".exists()",
        "'aa'" + ".replace('a', 'aaaaaaaaaaaaaaaa')" * 40 + ".exists()",
        "'aa'" + ".replaceMatches('a', 'aaaaaaaaaaaaaaaa')" * 40 + ".exists()",
        "'aa'" + ".toChars().join('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 30 + ".exists()",
        "'aa'" + ".select($this & $this)" * 40 + ".exists()",
        "(2)" + ".select($this * $this)" * 40 + ".exists()",
        f"({NUMBERS}).aggregate($total & $total, 'a').exists()",
        "%current" + ".select($this.combine($this))" * 30 + ".exists()",
        "%current" + ".select(%current.descendants())" * 30 + ".exists()",
        " | ".join(["%current.descendants()"] * 30),
        "%current.descendants().intersect(%current.descendants()).exists()",
        "%current.descendants().subsetOf(%current.descendants())",
        "%current.descendants().isDistinct()",
        "%current.component.all(%current.component.all(%current.component.all(%current.component.exists())))",
        "%current.component.select(%current.component.select(%current.component.select(1))).exists()",
    ],
)
def test_an_evaluation_with_too_much_work_ends_with_an_error(expression: str) -> None:
    check_criteria(expression)
    with pytest.raises(EvaluationFailed, match="too"):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("'" + "a" * 3000 + "!'.matches('^(a+)+$')", False),
        ("'" + "x" * 3000 + "'.matches('(x+x+)+y')", False),
        ("%current.status.matches('^fi')", True),
        ("%current.status.matches('^FI')", False),
        (r"'a\nb'.matches('a.b')", True),
        ("%current.nothing.matches('a').empty()", True),
        ("'ab'.replaceMatches('(a)(b)', '$2${1}') = 'ba'", True),
        (r"'a'.replaceMatches('a', '\\\\n') = '\\\\n'", True),
        ("%current.status.hasValue()", True),
        ("%current.code.hasValue()", False),
        ("%current.value.hasValue()", False),
        ("%current.component.hasValue()", False),
        ("(2.5).round(0) = 3", True),
        ("(1.25).round(1) = 1.3", True),
        ("(2.4).round() = 2", True),
        ("%current.value.value > 37.5 and %current.value.code = 'Cel'", True),
        ("%current.effective < now() - 5 days", True),
        ("%current.component.where(code.coding.code = '7').exists()", True),
    ],
)
def test_what_is_supplied_works(expression: str, result: bool) -> None:
    check_criteria(expression)
    assert evaluate(expression) is result


@pytest.mark.parametrize(
    ("before", "rises"),
    [
        ({"value": Decimal("38.4")}, True),
        ({"value": Decimal("38.50")}, False),
        ({"value": 39}, False),
        ({"value": 37, "unit": "another text"}, True),
    ],
)
def test_two_quantities_of_one_unit_are_compared(before: dict[str, Any], rises: bool) -> None:
    previous = {**READING, "valueQuantity": {**RATE, **before}}
    assert evaluate("%current.value > %previous.value", previous) is rises
    assert evaluate("%previous.value < %current.value", previous) is rises
    assert evaluate("%current.value <= %previous.value", previous) is not rises


@pytest.mark.parametrize("other", [{"code": "[degF]"}, {"comparator": "<"}])
def test_quantities_that_cannot_be_compared_fail(other: dict[str, Any]) -> None:
    with pytest.raises(EvaluationFailed):
        evaluate("%current.value > %previous.value", {**READING, "valueQuantity": {**RATE, **other}})
