"""Writes files that only their owner may read: the key ring, and private keys."""

import os
import tempfile
from pathlib import Path


def write_secret(path: Path, content: bytes, *, is_new: bool = False) -> None:
    """Replaces the file as a whole, readable by its owner only, and waits until it is on disk. With `is_new`,
    a file that another process made meanwhile stays, and `FileExistsError` is raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # has mode 0600
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            path.hardlink_to(draft)
        else:
            draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # a lost key cannot be made again
        finally:
            os.close(directory)
    finally:
        draft.unlink(missing_ok=True)
