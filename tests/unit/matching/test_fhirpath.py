"""FHIRPath criteria pass on a single true and on nothing else."""

from decimal import Decimal
from typing import Any

import pytest

from broker.matching.fhirpath import (
    MAX_EXPRESSION_CHARS,
    BadExpression,
    compile_expression,
    evaluate_fhirpath,
)
from broker.matching.problems import EvaluationFailed
from broker.matching.references import referenced_type
from broker.model.release import Release

FINISHED = "(%previous.id.empty() or (%previous.status != 'finished')) and (%current.status = 'finished')"


def encounter(status: str) -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": "e", "status": status}


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("previous", "current", "fires"),
    [
        (None, "finished", True),
        (None, "planned", False),
        ("planned", "finished", True),
        ("finished", "finished", False),
        ("finished", None, False),
        (None, None, False),
    ],
)
def test_the_published_example_works_on_every_interaction(
    *, release: Release, previous: str | None, current: str | None, fires: bool
) -> None:
    before = encounter(previous) if previous else None
    after = encounter(current) if current else None
    assert evaluate_fhirpath(FINISHED, before, after, release) is fires


def test_an_absent_state_compares_as_empty_and_does_not_fire() -> None:
    assert not evaluate_fhirpath("%previous.status != 'x'", None, encounter("planned"), Release.R4)


@pytest.mark.parametrize("expression", ["status = 'planned'", "%resource.status = 'planned'"])
def test_the_root_is_the_current_state_or_else_the_previous_one(expression: str) -> None:
    assert evaluate_fhirpath(expression, encounter("x"), encounter("planned"), Release.R5)
    assert evaluate_fhirpath(expression, encounter("planned"), None, Release.R5)


@pytest.mark.parametrize(
    "expression",
    ["'text'", "status", "((1=1) | (1=2)) and true", "(true | false)", "id + 1"],
)
def test_a_result_that_is_no_boolean_fails(expression: str) -> None:
    with pytest.raises(EvaluationFailed):
        evaluate_fhirpath(expression, None, encounter("planned"), Release.R5)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "a garbage",
        "a =",
        "(a",
        "a.b(",
        "a # b",
        "a.nothingLikeIt()",
        "%unknown.id",
        "(" * 900 + "a" + ")" * 900,
        "a" * (MAX_EXPRESSION_CHARS + 1),
    ],
)
def test_a_broken_expression_is_refused_before_it_is_evaluated(expression: str) -> None:
    with pytest.raises(BadExpression):
        compile_expression(expression)


def test_choice_elements_and_exact_decimals_work_on_the_variables() -> None:
    current = {"resourceType": "Observation", "valueQuantity": {"value": Decimal("1.1")}}
    assert evaluate_fhirpath("%current.value.value = 1.1", None, current, Release.R4)
    assert evaluate_fhirpath("%current is Observation", None, current, Release.R4)


@pytest.mark.parametrize(
    ("reference", "type_name"),
    [
        ({"reference": "Patient/1"}, "Patient"),
        ({"reference": "http://x/r4/Patient/1/_history/2"}, "Patient"),
        ({"reference": "urn:uuid:1", "type": "Device"}, "Device"),
        ({"reference": "#a"}, None),
        ({"display": "someone"}, None),
        ("Device/9", "Device"),
    ],
)
def test_the_type_of_a_reference_is_read_from_its_text_or_its_type_element(
    reference: object, type_name: str | None
) -> None:
    assert referenced_type(reference) == type_name
