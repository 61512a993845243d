"""Runs HL7's validator (a small Maven project in `judge/`) over documents and sorts its findings."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent / "judge"
ACCEPTED = Path(__file__).parent / "accepted.tsv"


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


class JudgeFailed(Exception):  # noqa: N818 reads better
    """Maven or Java failed: nothing was judged."""


def missing_tools() -> list[str]:
    """The commands that the judge needs and that are not on PATH."""
    return [tool for tool in ("java", "mvn") if shutil.which(tool) is None]


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

    Raises `JudgeFailed` with the output of Maven or Java if one of them fails.
    """
    classpath = PROJECT / "target" / "classpath"
    _run(
        [
            "mvn",
            "--quiet",
            "--batch-mode",
            "package",
            "dependency:build-classpath",
            f"-Dmdep.outputFile={classpath}",
        ]
    )
    found = _run(
        [
            "java",
            "-Xmx2g",
            "-cp",
            os.pathsep.join((str(PROJECT / "target" / "classes"), classpath.read_text().strip())),
            "org.fhirbroker.validator.Judge",
            str(documents),
            *(f"{release}={folder}" for release, folder in definitions.items()),
        ]
    )
    judged, findings = 0, []
    for line in found.splitlines():
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


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise JudgeFailed(
            f"{command[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4_000:]}"
        )
    return done.stdout
