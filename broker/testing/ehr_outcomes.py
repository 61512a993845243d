"""The refusals of a simulated EHR, as OperationOutcomes."""

from typing import Any


class EhrRefusal(Exception):  # noqa: N818 named after what it is
    """The request is answered with a status and one issue; `expression` is the element to correct."""

    def __init__(self, status: int, code: str, text: str, expression: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.outcome: dict[str, Any] = {
            "resourceType": "OperationOutcome",
            "issue": [
                {"severity": "error", "code": code, "diagnostics": text}
                | ({"expression": [expression]} if expression else {})
            ],
        }
