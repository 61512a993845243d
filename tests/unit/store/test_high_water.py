"""High-water marks only grow, also in the file that several matchers share."""

from pathlib import Path

import pytest

from broker.store.high_water import HighWaterMarks


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "high-water.json"


def test_marks_are_read_as_they_were_saved(file: Path) -> None:
    marks = HighWaterMarks({(1, 2): 30}, {2: "1700000000000-4"})
    marks.save(file)
    assert HighWaterMarks.load(file) == marks


def test_a_save_keeps_the_higher_mark_of_two_matchers(file: Path) -> None:
    HighWaterMarks({(0, 0): 5, (0, 1): 50}, {0: "9-0", 1: "10-0"}).save(file)
    HighWaterMarks({(0, 0): 7, (0, 1): 40}, {0: "10-0", 1: "9-9", 2: "1-1"}).save(file)
    assert HighWaterMarks.load(file) == HighWaterMarks(
        {(0, 0): 7, (0, 1): 50}, {0: "10-0", 1: "10-0", 2: "1-1"}
    )


def test_a_missing_file_holds_no_marks(file: Path) -> None:
    assert not HighWaterMarks.load(file)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"numbered": [[1]], "heads": {}}', '{"numbered": [], "heads": {"0": "no entry id"}}'],
)
def test_an_unreadable_file_holds_no_marks_and_is_overwritten(file: Path, text: str) -> None:
    file.write_text(text)
    assert not HighWaterMarks.load(file)
    HighWaterMarks({(0, 0): 1}, {}).save(file)
    assert HighWaterMarks.load(file).numbered == {(0, 0): 1}
