"""The conformance pages in `docs/` have one line for each row of their specification, and every line that
says `done` names a test.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECIFICATION = ROOT.parent / "shared" / "spec"
# all rows: ranges, single rows, and rows that were inserted between two others
ROWS = """
    001-006 010-014 020-028 030-035 040-042 050-052 060-074 080-081 100-110 110a 111 120-132 140-144
    150-160 170-181 200-203 203a 204-209 220-225 230-238 240-248 250-252 260-268 270-277 300-311
    320-327 330-334 340-343 360-368 380-391 400-412 430-433 450-461 480-483
"""
SMART_ROWS = """
    001-013 020-033 040-047 050-058 060-068 070-074 080-089 090-093 100-107
"""
READING_ROWS = "01-03 03a 03b 03c 04-18 20-31 40-45"
STATES = {"done", "partly", "not applicable", "declined", "open"}
_LINE = re.compile(r"^\| ((?:[RS]-\d{3}|V-\d{2})[a-z]?) \| (.+?) \| (.+?) \| (.*) \|$", re.MULTILINE)
_TEST_REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@dataclass(frozen=True)
class Line:
    """One line of the page."""

    row: str
    about: str
    state: str
    evidence: str


@dataclass(frozen=True)
class Page:
    """A page, the letter of its rows, the rows, and the file that has their text."""

    name: str
    letter: str
    rows: str
    source: str

    @property
    def text(self) -> str:
        return (ROOT / "docs" / self.name).read_text()

    def expected(self) -> Iterator[str]:
        for word in self.rows.split():
            first, dash, last = word.partition("-")
            if dash:
                numbers = range(int(first), int(last) + 1)
                yield from (f"{self.letter}-{number:0{len(first)}d}" for number in numbers)
            else:
                yield f"{self.letter}-{word}"

    def lines(self) -> tuple[Line, ...]:
        return tuple(Line(*groups) for groups in _LINE.findall(self.text))


PAGES = (
    Page("conformance.md", "R", ROWS, "REQUIREMENTS.md"),
    Page("conformance-smart.md", "S", SMART_ROWS, "SMART.md"),
    Page("conformance-readings.md", "V", READING_ROWS, "VITALS.md"),
)
pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def test_every_row_has_one_line_in_order(page: Page) -> None:
    assert [line.row for line in page.lines()] == list(page.expected())


def test_every_line_that_starts_like_a_row_is_read(page: Page) -> None:
    assert len(re.findall(rf"^\| *{page.letter}-", page.text, re.MULTILINE)) == len(page.lines())


@pytest.mark.skipif(not SPECIFICATION.is_dir(), reason="the specification is not next to this checkout")
def test_the_rows_are_those_of_the_specification(page: Page) -> None:
    text = (SPECIFICATION / page.source).read_text()
    assert list(page.expected()) == re.findall(rf"^\| ({page.letter}-\d{{2,3}}[a-z]?) \|", text, re.MULTILINE)


def test_every_state_is_known(page: Page) -> None:
    assert {line.row: line.state for line in page.lines() if line.state not in STATES} == {}


def test_every_line_says_what_its_row_is_about(page: Page) -> None:
    assert [line.row for line in page.lines() if len(line.about) < 8] == []


def test_a_row_that_is_done_names_tests_that_exist(page: Page) -> None:
    wrong: dict[str, list[str]] = {}
    for line in page.lines():
        references = _TEST_REFERENCE.findall(line.evidence)
        missing = [f"{file}::{name}" for file, name in references if name not in _tests_of(file)]
        if missing or (line.state == "done" and not references):
            wrong[line.row] = missing
    assert wrong == {}


def test_a_row_that_is_not_done_gives_a_reason(page: Page) -> None:
    lines = [line for line in page.lines() if line.state != "done"]
    reasons = {line.row: _TEST_REFERENCE.sub("", line.evidence) for line in lines}
    assert [row for row, reason in reasons.items() if len(reason.split()) < 4] == []
