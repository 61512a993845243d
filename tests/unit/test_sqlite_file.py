"""SQLite files of one owner; the buffer and the ledger have tests of what they store."""

import sqlite3
from pathlib import Path

import pytest

from broker.sqlite_file import open_owned

TABLES = "CREATE TABLE IF NOT EXISTS rows (n INTEGER);"


def opened(path: Path, file_format: int = 1, tables: str = TABLES) -> sqlite3.Connection:
    return open_owned(path, tables, file_format, "test file", TimeoutError, ValueError)


def test_a_file_is_of_one_owner_and_of_the_next_one_after_it(tmp_path: Path) -> None:
    first = opened(tmp_path / "a")
    first.execute("INSERT INTO rows VALUES (7)")
    with pytest.raises(TimeoutError, match="Another process uses"):
        opened(tmp_path / "a")
    first.close()
    second = opened(tmp_path / "a")
    assert second.execute("SELECT n FROM rows").fetchall() == [(7,)]
    second.close()


def test_a_file_of_another_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path / "a", 2).close()
    with pytest.raises(ValueError, match="has the format 2; this program reads 1"):
        opened(tmp_path / "a", tables="CREATE TABLE more (n INTEGER);")
    again = opened(tmp_path / "a", 2)
    assert [name for (name,) in again.execute("SELECT name FROM sqlite_schema")] == ["rows"]
    again.close()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database" * 200)
    with pytest.raises(ValueError, match="it is no test file, or damaged"):
        opened(tmp_path / "a")
