"""The only writer of OperationOutcome: issues as the resource that each FHIR base returns and the inbox keeps
for a refused entry.

The elements used here are the same in R4, R4B and R5.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from broker.errors import Issue


def operation_outcome(issues: Iterable[Issue]) -> bytes:
    """The OperationOutcome of the issues.

    Without any it has one `information`, because FHIR requires an issue.
    """
    return orjson.dumps(
        {
            "resourceType": "OperationOutcome",
            "issue": [_issue(issue) for issue in issues]
            or [{"severity": "information", "code": "informational", "diagnostics": "all OK"}],
        }
    )


def _issue(issue: Issue) -> dict[str, Any]:
    # the text may quote a client's string: a lone surrogate must not turn a 4xx into a 500
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
