"""The offline buffer of a producer: messages that wait on disk until the broker has settled them.

A SQLite database. What `append` has returned for is on disk and survives a kill of the process and a loss of
power; messages leave it in the order in which they were added. A message that the broker refuses is set
aside with the reason, and those behind it go on. The buffer is bounded and belongs to one process at a time.
Threads may share it.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from broker.client.errors import BufferFull, BufferInUse, BufferUnusable
from broker.client.message import Message
from broker.sqlite_file import open_owned

MAX_MESSAGES = 100_000
MAX_BYTES = 256 * 1024 * 1024
_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    method TEXT NOT NULL, path TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
    key TEXT NOT NULL,
    added REAL NOT NULL, failures INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS refused (
    number INTEGER PRIMARY KEY,
    method TEXT NOT NULL, path TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
    key TEXT NOT NULL,
    added REAL NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counts VALUES ('added', 0), ('accepted', 0), ('refused', 0);
"""
_COLUMNS = "method, path, content_type, body, key"


class Buffered(NamedTuple):
    """A message that waits. `failures` counts the answers 500 to it."""

    number: int
    message: Message
    failures: int


class Refused(NamedTuple):
    """A message that was set aside, the status of the answer and its reason."""

    number: int
    message: Message
    status: int
    reason: str


class Counts(NamedTuple):
    """`added`, `accepted` and `refused` count from the creation of the buffer; the others are of now."""

    added: int
    accepted: int
    refused: int
    waiting: int
    aside: int
    bytes: int


class OfflineBuffer:
    """Opens or creates the file. `max_messages` and `max_bytes` bound what waits or is set aside.

    Raises `BufferInUse` and `BufferUnusable`.
    """

    def __init__(self, path: Path, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._database = open_owned(path, _TABLES, _FORMAT, "buffer", BufferInUse, BufferUnusable)
        self._held, self._bytes = self._database.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM "
            "(SELECT body FROM waiting UNION ALL SELECT body FROM refused)"
        ).fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """What waits stays in the file."""
        with self._lock:
            self._database.close()

    def append(self, *messages: Message) -> None:
        """Adds all messages, or none. They are on disk when it returns. Raises `BufferFull`."""
        size = sum(len(message.body) for message in messages)
        with self._lock:
            if self._held + len(messages) > self._max_messages or self._bytes + size > self._max_bytes:
                raise BufferFull(
                    f"{self.path} holds {self._held} messages of {self._bytes} bytes, and {len(messages)} "
                    "more exceed its bound. Wait until some are sent, or discard those set aside."
                )
            now = time.time()
            with self._transaction() as database:
                database.executemany(
                    f"INSERT INTO waiting ({_COLUMNS}, added) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 constants
                    [(*message, now) for message in messages],
                )
                _count(database, "added", len(messages))
            self._held += len(messages)
            self._bytes += size

    def first(self, limit: int = 1) -> Sequence[Buffered]:
        """The messages that have waited longest, in their order."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT number, {_COLUMNS}, failures FROM waiting ORDER BY number LIMIT ?",  # noqa: S608 constants
                (limit,),
            ).fetchall()
        return [Buffered(row[0], Message(*row[1:6]), row[6]) for row in rows]

    def settle(self, accepted: Sequence[Buffered], refused: Sequence[Refused] = ()) -> None:
        """Removes accepted messages, and sets refused ones aside, in one transaction."""
        with self._lock, self._transaction() as database:
            database.executemany(
                "INSERT INTO refused SELECT number, method, path, content_type, body, key, added, ?, ? "
                "FROM waiting WHERE number = ?",
                [(each.status, each.reason, each.number) for each in refused],
            )
            numbers = [(each.number,) for each in accepted] + [(each.number,) for each in refused]
            database.executemany("DELETE FROM waiting WHERE number = ?", numbers)
            _count(database, "accepted", len(accepted))
            _count(database, "refused", len(refused))
            self._held -= len(accepted)
            self._bytes -= sum(len(each.message.body) for each in accepted)

    def count_failure(self, number: int) -> None:
        """Counts an answer 500 to the message."""
        with self._lock, self._transaction() as database:
            database.execute("UPDATE waiting SET failures = failures + 1 WHERE number = ?", (number,))

    def refused(self, limit: int = 100) -> Sequence[Refused]:
        """The messages that were set aside, oldest first."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT number, {_COLUMNS}, status, reason FROM refused ORDER BY number LIMIT ?",  # noqa: S608 constants
                (limit,),
            ).fetchall()
        return [Refused(row[0], Message(*row[1:6]), row[6], row[7]) for row in rows]

    def redrive(self) -> int:
        """Lets the messages that were set aside wait again, behind the others; how many."""
        with self._lock, self._transaction() as database:
            moved = database.execute(
                f"INSERT INTO waiting ({_COLUMNS}, added) "  # noqa: S608 constants
                f"SELECT {_COLUMNS}, added FROM refused ORDER BY number"
            ).rowcount
            database.execute("DELETE FROM refused")
            return moved

    def discard(self) -> int:
        """Deletes the messages that were set aside; how many."""
        with self._lock:
            with self._transaction() as database:
                (size,) = database.execute("SELECT coalesce(sum(length(body)), 0) FROM refused").fetchone()
                deleted = database.execute("DELETE FROM refused").rowcount
            self._held -= deleted
            self._bytes -= size
            return deleted

    def counts(self) -> Counts:
        with self._lock:
            by_name = dict(self._database.execute("SELECT name, value FROM counts").fetchall())
            (waiting,) = self._database.execute("SELECT count(*) FROM waiting").fetchone()
            return Counts(
                by_name["added"],
                by_name["accepted"],
                by_name["refused"],
                waiting,
                self._held - waiting,
                self._bytes,
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On disk on the way out, and undone after an error. Raises `BufferFull` for a full disk."""
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise BufferFull(f"There is no room on the disk of {self.path}. Make room.") from error
            raise BufferUnusable(f"{self.path}: {error}") from error


def _count(database: sqlite3.Connection, name: str, more: int) -> None:
    database.execute("UPDATE counts SET value = value + ? WHERE name = ?", (more, name))
