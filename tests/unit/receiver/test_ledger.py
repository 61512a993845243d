"""The ledger: what it remembers, one process at a time, files that are none."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from broker.receiver import Gap, Ledger, LedgerInUse, LedgerUnusable
from tests.spawning import ROOT


def test_what_is_settled_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        assert ledger.settled("a") is None
        ledger.settle("a", 5)
        ledger.settle("b", 1)
        ledger.lose(Gap("b", 2, 4))
        assert ledger.is_new_handshake("a", "1")
    with Ledger(path) as ledger:
        assert (ledger.settled("a"), ledger.settled("b"), ledger.settled("c")) == (5, 4, None)
        assert ledger.lost("b") == [Gap("b", 2, 4)]
        assert ledger.lost("a") == []
        assert not ledger.is_new_handshake("a", "1")
        assert ledger.is_new_handshake("b", "1")


def test_a_settled_number_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    code = (
        "import os, pathlib, sys; from broker.receiver.ledger import Ledger; "
        "Ledger(pathlib.Path(sys.argv[1])).settle('a', 7); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert ended.returncode == -9
    with Ledger(path) as ledger:
        assert ledger.settled("a") == 7


def test_handshakes_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.receiver.ledger._MAX_HANDSHAKES", 2)
    ledger = Ledger()
    assert [ledger.is_new_handshake("a", name) for name in "123"] == [True] * 3
    assert not ledger.is_new_handshake("a", "3")
    assert not ledger.is_new_handshake("a", "2")
    assert ledger.is_new_handshake("a", "1"), "it is forgotten"


def test_a_ledger_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path), pytest.raises(LedgerInUse, match="Another process"):
        Ledger(path)
    with Ledger(path):
        pass


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be one " * 50)
    with pytest.raises(LedgerUnusable, match="no ledger"):
        Ledger(tmp_path / "text")
    with pytest.raises(LedgerUnusable, match="can be written"):
        Ledger(tmp_path / "missing" / "ledger.db")
    database = sqlite3.connect(tmp_path / "newer")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerUnusable, match="format 99"):
        Ledger(tmp_path / "newer")
