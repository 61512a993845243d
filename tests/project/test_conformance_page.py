"""`docs/conformance.md` has one line for each row of the specification, and every line that says `done` names
a test.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
DOSSIER = ROOT.parent / "shared" / "spec" / "REQUIREMENTS.md"
# all rows: ranges, single rows, and rows that were inserted between two others
ROWS = """
    001-006 010-014 020-028 030-035 040-042 050-052 060-074 080-081 100-110 110a 111 120-132 140-144
    150-160 170-181 200-203 203a 204-209 220-225 230-238 240-248 250-252 260-268 270-277 300-311
    320-327 330-334 340-343 360-368 380-391 400-412 430-433 450-461 480-483
"""
STATES = {"done", "not applicable", "declined", "open"}
_LINE = re.compile(r"^\| (R-\d{3}[a-z]?) \| (.+?) \| (.+?) \| (.*) \|$", re.MULTILINE)
_TEST_REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@dataclass(frozen=True)
class Line:
    """One line of the page."""

    row: str
    about: str
    state: str
    evidence: str


def _expected() -> Iterator[str]:
    for word in ROWS.split():
        first, dash, last = word.partition("-")
        if dash:
            yield from (f"R-{number:03d}" for number in range(int(first), int(last) + 1))
        else:
            yield f"R-{word}"


@cache
def _lines() -> tuple[Line, ...]:
    return tuple(Line(*groups) for groups in _LINE.findall(PAGE.read_text()))


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def test_every_row_has_one_line_in_order() -> None:
    assert [line.row for line in _lines()] == list(_expected())


def test_every_line_that_starts_like_a_row_is_read() -> None:
    assert len(re.findall(r"^\| *R-", PAGE.read_text(), re.MULTILINE)) == len(_lines())


@pytest.mark.skipif(not DOSSIER.is_file(), reason="the specification is not next to this checkout")
def test_the_rows_are_those_of_the_specification() -> None:
    rows = re.findall(r"^\| (R-\d{3}[a-z]?) \|", DOSSIER.read_text(), re.MULTILINE)
    assert list(_expected()) == rows


def test_every_state_is_known() -> None:
    assert {line.row: line.state for line in _lines() if line.state not in STATES} == {}


def test_every_line_says_what_its_row_is_about() -> None:
    assert [line.row for line in _lines() if len(line.about) < 8] == []


def test_a_row_that_is_done_names_tests_that_exist() -> None:
    wrong: dict[str, list[str]] = {}
    for line in _lines():
        references = _TEST_REFERENCE.findall(line.evidence)
        missing = [f"{file}::{name}" for file, name in references if name not in _tests_of(file)]
        if missing or (line.state == "done" and not references):
            wrong[line.row] = missing
    assert wrong == {}


def test_a_row_that_is_not_done_gives_a_reason() -> None:
    reasons = {line.row: _TEST_REFERENCE.sub("", line.evidence) for line in _lines() if line.state != "done"}
    assert [row for row, reason in reasons.items() if len(reason.split()) < 4] == []
