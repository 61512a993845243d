"""Errors as OperationOutcomes."""

import orjson
import pytest

from broker.errors import Issue
from broker.fhir.outcomes import operation_outcome
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    "issues",
    [
        [],
        [Issue("value", "too big", "Observation.value"), Issue("structure", "odd", severity="warning")],
        [Issue("value", "bad \ud800 byte", "a\udfff")],
        [Issue("value", "")],
    ],
    ids=len,
)
def test_an_outcome_is_valid_in_each_release(release: Release, issues: list[Issue]) -> None:
    validate(release, "OperationOutcome", Resource(operation_outcome(issues)))


def test_each_issue_has_severity_code_text_and_expression() -> None:
    rendered = orjson.loads(
        operation_outcome([Issue("value", "too big", "Observation.status"), Issue("x", "y")])
    )
    assert rendered["issue"] == [
        {
            "severity": "error",
            "code": "value",
            "details": {"text": "too big"},
            "diagnostics": "too big",
            "expression": ["Observation.status"],
        },
        {"severity": "error", "code": "x", "details": {"text": "y"}, "diagnostics": "y"},
    ]
