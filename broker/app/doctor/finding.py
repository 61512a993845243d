"""What a check of `fhir-broker doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """A failure keeps the broker from working, or from keeping a promise; a warning may come to that."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `action` is what the operator should do; '' if there is nothing to do."""

    check: str
    state: State
    finding: str
    action: str = ""


def ok(check: str, finding: str) -> Finding:
    return Finding(check, State.OK, finding)


def warning(check: str, finding: str, action: str) -> Finding:
    return Finding(check, State.WARNING, finding, action)


def failure(check: str, finding: str, action: str) -> Finding:
    return Finding(check, State.FAILURE, finding, action)
