"""What a broker has written, read as somebody would who gets hold of it."""

import base64
import contextlib
import re
from pathlib import Path

from broker.store.compression import decompress

_FRAME = b"\x28\xb5\x2f\xfd"
"""The first bytes of a compressed text."""


def files(folder: Path) -> dict[str, bytes]:
    """The content of each file. A running store may replace some meanwhile."""
    contents = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                contents[str(path.relative_to(folder))] = path.read_bytes()
    return contents


def command_lines() -> bytes:
    """What a list of processes shows."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes())
    return b"\n".join(lines)


def with_unpacked(content: bytes) -> bytes:
    """A file of the store, with every compressed text in it that opens."""
    texts = [content]
    for start in (match.start() for match in re.finditer(re.escape(_FRAME), content)):
        with contextlib.suppress(ValueError):  # other bytes that look like the beginning of one
            texts.append(decompress(b"1" + content[start : start + 1_000_000]))
    return b"\n".join(texts)


def forms(text: str) -> list[bytes]:
    """The text as it could be written: as it is, as hexadecimal digits, and as base64."""
    raw = text.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1]]
