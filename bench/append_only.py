"""Reads the append-only file of a store: how many bytes each command wrote to each kind of key.

The file is a base (a snapshot) and the commands since, in the protocol of the clients. Only the commands are
read.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from broker.store.memory_sample import kind_of

_TRANSACTION = {b"MULTI", b"EXEC", b"SELECT"}


def positions(data_dir: Path) -> dict[Path, int]:
    """How long each file of commands is now."""
    return {path: path.stat().st_size for path in data_dir.glob("appendonlydir/*.incr.aof")}


def bytes_by_command(data_dir: Path, since: dict[Path, int]) -> Counter[str]:
    """The bytes of the commands written since, by command and kind of key. They contain the markers around
    the commands of a script.
    """
    sizes: Counter[str] = Counter()
    for path in sorted(positions(data_dir)):
        with path.open("rb") as file:
            file.seek(since.get(path, 0))
            for arguments, size in _commands(file):
                name = arguments[0].upper()
                kind = "" if name in _TRANSACTION or len(arguments) < 2 else f" {_kind(arguments)}"
                sizes[f"{name.decode()}{kind}"] += size
    return sizes


def _kind(arguments: list[bytes]) -> str:
    key = arguments[2] if arguments[0].upper() == b"XGROUP" else arguments[1]
    return kind_of(key)


def _commands(file: IO[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Each command with its bytes in the file. An incomplete one at the end is left out."""
    while line := file.readline():
        size, arguments = len(line), []
        for _ in range(int(line[1:])):
            head = file.readline()
            if not head:
                return
            length = int(head[1:])
            text = file.read(length + 2)
            if len(text) < length + 2:
                return
            arguments.append(text[:-2])
            size += len(head) + len(text)
        yield arguments, size
