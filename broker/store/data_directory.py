"""The claim on a data directory: one broker process at a time uses it.

The kernel holds the lock and releases it when the process ends, however it ends. The lock file names the
process, so that another one is refused by name. `EmbeddedServer` claims its directory; nothing else writes
there.
"""

import fcntl
import json
import os
from pathlib import Path

from broker.clock import SystemClock, to_instant
from broker.errors import ConfigurationError
from broker.store.process_identity import ProcessIdentity, own_identity

LOCK_FILE = "owner.lock"
_MAX_BYTES = 4096


class DataDirectory:
    """A directory that this process claims until `release` or its end.

    `predecessor` is the process that claimed the directory before: it has ended or released the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predecessor: ProcessIdentity | None = None
        self._lock: int | None = None

    def claim(self) -> None:
        """Creates the directory if it is missing. Does nothing if this object has claimed it already.

        Raises `ConfigurationError` if another process uses the directory, or if this one cannot.
        """
        if self._lock is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"BROKER_DATA_DIR={self.path} cannot be used: {error.strerror}; "
                "set it to a directory that the broker can write"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _name_of(os.pread(lock, _MAX_BYTES, 0))
            os.close(lock)
            raise ConfigurationError(
                f"BROKER_DATA_DIR={self.path} is in use by {owner}. "
                "Stop that process, or set another BROKER_DATA_DIR."
            ) from None
        self.predecessor = _identity_in(os.pread(lock, _MAX_BYTES, 0))
        text = json.dumps(own_identity().as_dict() | {"since": to_instant(SystemClock().now_ms())}).encode()
        os.pwrite(lock, text, 0)
        os.ftruncate(lock, len(text))  # after the write: who reads meanwhile finds a name
        self._lock = lock

    def release(self) -> None:
        """Lets another process claim the directory. The file stays: it names the last owner."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _identity_in(text: bytes) -> ProcessIdentity | None:
    """The process that a lock file names; None for a new file, and for an owner that ended before it wrote
    its name.
    """
    try:
        return ProcessIdentity.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None


def _name_of(text: bytes) -> str:
    try:
        document = json.loads(text)
        return f"process {ProcessIdentity.from_dict(document).pid} since {document['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written its name yet
        return "another process"
