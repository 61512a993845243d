"""The claim on a data directory: held until it is released, and refused by name meanwhile."""

import os
import re
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.store.data_directory import LOCK_FILE, DataDirectory
from broker.store.process_identity import own_identity


def test_a_claim_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path / "data"), DataDirectory(tmp_path / "data")
    first.claim()
    first.claim()
    name = rf"{re.escape(str(tmp_path))}/data is in use by process {os.getpid()} since \d{{4}}-.*Z\. Stop"
    with pytest.raises(ConfigurationError, match=name):
        second.claim()
    first.release()
    first.release()
    second.claim()
    second.release()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": null}'])
def test_an_owner_that_has_not_written_its_name_is_another_process(tmp_path: Path, text: str) -> None:
    owner = DataDirectory(tmp_path)
    owner.claim()
    (tmp_path / LOCK_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        DataDirectory(tmp_path).claim()
    owner.release()


def test_the_claim_says_who_had_the_directory_before(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.claim()
    assert first.predecessor is None
    first.release()
    second.claim()
    assert second.predecessor == own_identity()
    second.release()


@pytest.mark.parametrize("text", ["{", "[]", '{"pid": null}'])
def test_a_name_that_was_not_written_to_its_end_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_FILE).write_text(text)
    owner = DataDirectory(tmp_path)
    owner.claim()
    assert owner.predecessor is None
    owner.release()


def test_a_longer_name_of_a_former_owner_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("x" * 1000)
    owner = DataDirectory(tmp_path)
    owner.claim()
    assert (tmp_path / LOCK_FILE).read_text().endswith("}")
    owner.release()


def test_a_directory_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
        DataDirectory(tmp_path / "file" / "data").claim()
