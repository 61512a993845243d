"""A backup of the embedded store: its append-only files as they were at one moment, with their checksums.

A backup is a folder with `backup.json` and the files of the server in `appendonlydir`. The files are copied
while the server writes them: it only appends to the last one, and deletes a file only after its own list has
named another one in its place. So files that were opened between two equal readings of that list belong
together, whatever the server does with them afterwards. `app/backups.py` makes and restores backups.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from broker.errors import ConfigurationError

FOLDER = "appendonlydir"
RECORD = "backup.json"
_LIST = "appendonly.aof.manifest"
_FORMAT = 1
_TRIES = 20
_CHUNK = 1024**2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HISTORY = "h"
"""The type of a file that the server is about to delete."""


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file of a backup, and what it must be."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """What `backup.json` says of a backup. `sealing_keys` are the ids of the keys of the key ring that the
    data needs; the keys are not part of it.
    """

    made: str
    broker: str
    schema: int
    sealing_keys: tuple[str, ...]
    files: tuple[CopiedFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def write(self, folder: Path) -> None:
        _write(folder / RECORD, json.dumps({"format": _FORMAT, **asdict(self)}, indent=2).encode() + b"\n")
        _sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> "BackupRecord":
        """Raises `ConfigurationError` for a folder that is no backup."""
        try:
            return cls._parse(json.loads((folder / RECORD).read_bytes()))
        except OSError as error:
            raise ConfigurationError(
                f"{folder} is no backup: {RECORD} cannot be read ({error.strerror}). "
                "Name a folder that `fhir-broker backup` made."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{folder / RECORD} is not what `fhir-broker backup` writes. Use another backup."
            ) from error

    @classmethod
    def _parse(cls, document: dict[str, Any]) -> "BackupRecord":
        if document["format"] != _FORMAT:
            raise ValueError
        files = tuple(
            CopiedFile(str(each["name"]), int(each["bytes"]), str(each["sha256"]))
            for each in document["files"]
        )
        if not files or not all(_NAME.fullmatch(file.name) for file in files):
            raise ValueError
        return cls(
            str(document["made"]),
            str(document["broker"]),
            int(document["schema"]),
            tuple(map(str, document["sealing_keys"])),
            files,
        )


def has_data(folder: Path) -> bool:
    """Whether a data directory has files of a store."""
    return (folder / FOLDER / _LIST).exists()


def copy_data(data_dir: Path, target: Path) -> tuple[CopiedFile, ...]:
    """Copies the files of a data directory, whose server may run, to `target`, a folder that does not exist.

    The copy has each write that the server had replied to before. Raises `ConfigurationError`.
    """
    target.mkdir(mode=0o700)
    copied = []
    with _opened(data_dir / FOLDER) as (names, files):
        # sizes last: what is appended from here on is not part of the copy
        sizes = [os.fstat(file.fileno()).st_size for file in files]
        for name, file, size in zip(names, files, sizes, strict=True):
            copied.append(_copy(name, file, size, target))
    text = "".join(f"file {name} seq {seq} type {kind}\n" for name, (seq, kind) in names.items()).encode()
    _write(target / _LIST, text)
    copied.append(CopiedFile(_LIST, len(text), hashlib.sha256(text).hexdigest()))
    _sync_folder(target)
    return tuple(copied)


def copy_backup(folder: Path, files: Sequence[CopiedFile], target: Path) -> None:
    """Copies the files of a backup to `target`, a folder that does not exist, and compares their checksums.

    Raises `ConfigurationError` for a file that is missing or not what it was.
    """
    target.mkdir(mode=0o700)
    for expected in files:
        try:
            with (folder / FOLDER / expected.name).open("rb") as file:
                copied = _copy(expected.name, file, expected.bytes + 1, target)
        except FileNotFoundError:
            copied = None
        if copied != expected:
            problem = "missing" if copied is None else "not what was backed up (another size or checksum)"
            raise ConfigurationError(
                f"The backup {folder} is damaged: {FOLDER}/{expected.name} is {problem}. Use another backup."
            )
    _sync_folder(target)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[dict[str, tuple[str, str]], list[IO[bytes]]]]:
    """The files that belong together, open, with their sequence and type in the server's list by name."""
    for _ in range(_TRIES):
        with ExitStack() as stack:
            text = (folder / _LIST).read_bytes()
            names = _parse_list(text)
            try:
                files: list[IO[bytes]] = [stack.enter_context((folder / name).open("rb")) for name in names]
            except FileNotFoundError:
                continue  # the server has just replaced them
            if (folder / _LIST).read_bytes() == text:
                yield names, files
                return
    raise ConfigurationError(
        f"The files in {folder} are not those that {_LIST} there lists, or are replaced again and again. "
        "See valkey.log."
    )


def _parse_list(text: bytes) -> dict[str, tuple[str, str]]:
    names = {}
    for line in text.decode().splitlines():
        match line.split():
            case ["file", name, "seq", seq, "type", kind] if _NAME.fullmatch(name):
                if kind != _HISTORY:
                    names[name] = (seq, kind)
            case ["file", *_]:
                raise ConfigurationError(f"The list of the store's files has a line of another form: {line}")
    return names


def _copy(name: str, file: IO[bytes], size: int, target: Path) -> CopiedFile:
    """Copies the first `size` bytes, or as many as there are."""
    digest, copied = hashlib.sha256(), 0
    with (target / name).open("xb") as copy:
        while part := file.read(min(_CHUNK, size - copied)):
            copy.write(part)
            digest.update(part)
            copied += len(part)
        copy.flush()
        os.fsync(copy.fileno())
    return CopiedFile(name, copied, digest.hexdigest())


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(folder: Path, target: Path) -> None:
    """Renames a folder on one disk, and syncs where it went."""
    folder.rename(target)
    _sync_folder(target.parent)


def remove(folder: Path) -> None:
    """Removes a folder of this module's making, as far as there is one."""
    shutil.rmtree(folder, ignore_errors=True)
