"""A copy of the store's files has those that belong together, whatever the server does meanwhile."""

from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.store import backups
from broker.store.backups import BackupRecord, copy_data, has_data

LIST = "appendonly.aof.manifest"


def write(folder: Path, lines: str, **files: bytes) -> Path:
    """A data directory with these files, by the part of their name that differs."""
    inner = folder / "appendonlydir"
    inner.mkdir(exist_ok=True)
    for name, content in files.items():
        (inner / f"appendonly.aof.{name}").write_bytes(content)
    (inner / LIST).write_text(lines)
    return folder


def test_the_files_of_the_list_are_copied_without_those_that_are_about_to_be_deleted(tmp_path: Path) -> None:
    lines = (
        "file appendonly.aof.one seq 1 type h\n"
        "file appendonly.aof.two seq 2 type b\n"
        "file appendonly.aof.three seq 3 type i\n"
    )
    data = write(tmp_path, lines, one=b"1", two=b"22", three=b"333")
    assert has_data(data)
    copied = copy_data(data, tmp_path / "copy")
    assert [(file.name, file.bytes) for file in copied][:2] == [
        ("appendonly.aof.two", 2),
        ("appendonly.aof.three", 3),
    ]
    assert (tmp_path / "copy" / LIST).read_text() == "".join(lines.splitlines(keepends=True)[1:])
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {file.name for file in copied}


def test_files_that_are_replaced_while_they_are_opened_are_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path, "file appendonly.aof.old seq 1 type b\n", old=b"old")
    read = backups._parse_list
    rewrites = iter(["file appendonly.aof.gone seq 2 type b\n", "file appendonly.aof.new seq 3 type b\n"])

    def rewritten(text: bytes) -> dict[str, tuple[str, str]]:
        """The server ends a rewrite after its list was read."""
        lines = next(rewrites, None)
        if lines is not None:
            (data / "appendonlydir" / "appendonly.aof.old").unlink(missing_ok=True)
            write(data, lines, new=b"new")
        return read(text)

    monkeypatch.setattr(backups, "_parse_list", rewritten)
    copied = copy_data(data, tmp_path / "copy")
    assert [file.name for file in copied] == ["appendonly.aof.new", LIST]


def test_a_list_that_names_no_files_of_the_folder_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, "file appendonly.aof.gone seq 1 type b\n")
    with pytest.raises(ConfigurationError, match="are not those that"):
        copy_data(data, tmp_path / "copy")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "/etc/passwd", ".hidden"])
def test_a_record_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    data = write(tmp_path, "file appendonly.aof.base seq 1 type b\n", base=b"1")
    BackupRecord("2025-03-01T08:00:00Z", "0.1.0", 8, (), copy_data(data, tmp_path / "copy")).write(tmp_path)
    path = tmp_path / "backup.json"
    assert BackupRecord.read(tmp_path).schema == 8
    path.write_text(path.read_text().replace("appendonly.aof.base", name))
    with pytest.raises(ConfigurationError, match="is not what `fhir-broker backup` writes"):
        BackupRecord.read(tmp_path)
