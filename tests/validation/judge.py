"""Runs HL7's validator over a folder of documents and sorts its findings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.validation import java_project

ACCEPTED = Path(__file__).parent / "accepted.tsv"
ACCEPTED_WITHOUT_PROFILES = Path(__file__).parent / "accepted_without_profiles.tsv"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the judge. `severity` is error, warning or information."""

    file: str
    severity: str
    location: str
    message: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Findings that are right to stay: those whose `location: message` matches `pattern`, with the reason."""

    severity: str
    pattern: re.Pattern[str]
    reason: str

    def covers(self, finding: Finding) -> bool:
        return self.severity == finding.severity and bool(
            self.pattern.search(f"{finding.location}: {finding.message}")
        )


def read_accepted(path: Path = ACCEPTED) -> list[Accepted]:
    """The table of accepted findings: severity, regular expression, reason, separated by tabs; # begins a
    comment.
    """
    rows = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            severity, pattern, reason = line.split("\t")
            rows.append(Accepted(severity, re.compile(pattern), reason))
    return rows


def judge(documents: Path, definitions: Mapping[str, Path]) -> tuple[int, list[Finding]]:
    """How many documents were judged, and what was found. `definitions` maps a release to a folder of
    profiles.

    Raises `JavaFailed`.
    """
    output = java_project.run(
        "org.fhirbroker.validator.Judge",
        str(documents),
        *(f"{release}={folder}" for release, folder in definitions.items()),
    )
    judged, findings = 0, []
    for line in output.splitlines():
        parts = line.split("\t")
        if parts[0] == "judged":
            judged = int(parts[1])
        else:
            findings.append(Finding(*parts))
    return judged, findings


def unaccepted(findings: Sequence[Finding], accepted: Sequence[Accepted]) -> list[Finding]:
    """Errors and warnings that no row of the table covers; notes don't count."""
    return [
        finding
        for finding in findings
        if finding.severity in {"fatal", "error", "warning"}
        and not any(row.covers(finding) for row in accepted)
    ]
