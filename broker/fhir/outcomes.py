"""The one writer of OperationOutcome: an error's issues as the resource every FHIR base answers with.

The shape used here is the same in R4, R4B and R5, so no release is asked for.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from broker.errors import Issue


def operation_outcome(issues: Iterable[Issue]) -> bytes:
    """The OperationOutcome of the issues. Without any it says that all is well, since one issue is required."""
    return orjson.dumps(
        {
            "resourceType": "OperationOutcome",
            "issue": [_issue(issue) for issue in issues]
            or [{"severity": "information", "code": "informational", "diagnostics": "all OK"}],
        }
    )


def _issue(issue: Issue) -> dict[str, Any]:
    # the text may quote a client's bytes: a lone surrogate must not turn a refusal into a failure
    text = issue.text.encode(errors="replace").decode() or issue.code
    rendered: dict[str, Any] = {
        "severity": issue.severity,
        "code": issue.code,
        "details": {"text": text},
        "diagnostics": text,
    }
    if issue.expression:
        rendered["expression"] = [issue.expression.encode(errors="replace").decode()]
    return rendered
