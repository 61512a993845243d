"""What a receiver has settled: the last event number of each Subscription, lost numbers, and handshakes.

A SQLite file of one process at a time. What `settle` has returned for survives a kill of the process and a
loss of power. Threads may share it.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from broker.receiver.events import Gap
from broker.sqlite_file import open_owned

_FORMAT = 1
_MAX_HANDSHAKES = 1_000
"""Remembered for each Subscription; an older handshake is refused by the time of its signature."""
_TABLES = """
CREATE TABLE IF NOT EXISTS settled (subscription TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lost (
    subscription TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, noticed REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS handshakes (
    place INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL, id TEXT NOT NULL,
    UNIQUE (subscription, id)
);
"""


class ReceiverError(Exception):
    """Base of what a receiver raises. The message says what to do."""


class LedgerInUse(ReceiverError):  # noqa: N818 named after the condition
    """Another process uses the file."""


class LedgerUnusable(ReceiverError):  # noqa: N818
    """The file cannot be read or written, or is no ledger."""


class Ledger:
    """Opens or creates the file; without one, it is in memory and a restart of the receiver begins anew.

    Raises `LedgerInUse` and `LedgerUnusable`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._database = open_owned(path, _TABLES, _FORMAT, "ledger", LedgerInUse, LedgerUnusable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def settled(self, subscription: str) -> int | None:
        """The last number up to which each event was handled or is lost; None for a new Subscription."""
        with self._lock:
            row = self._database.execute(
                "SELECT number FROM settled WHERE subscription = ?", (subscription,)
            ).fetchone()
        return None if row is None else int(row[0])

    def settle(self, subscription: str, number: int) -> None:
        """Events up to `number` need not be handled any more. A lower number than before lets events be
        handled again.
        """
        with self._transaction() as database:
            _set(database, subscription, number)

    def lose(self, gap: Gap) -> None:
        """Settles the numbers of a gap, and keeps it for `lost`."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO lost VALUES (?, ?, ?, ?)", (gap.subscription, gap.first, gap.last, time.time())
            )
            _set(database, gap.subscription, gap.last)

    def lost(self, subscription: str) -> Sequence[Gap]:
        """The gaps of a Subscription, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT first, last FROM lost WHERE subscription = ? ORDER BY rowid", (subscription,)
            ).fetchall()
        return [Gap(subscription, first, last) for first, last in rows]

    def is_new_handshake(self, subscription: str, id: str) -> bool:
        """Whether this is the first time that the handshake arrives; remembers it."""
        with self._transaction() as database:
            added = database.execute(
                "INSERT OR IGNORE INTO handshakes (subscription, id) VALUES (?, ?)", (subscription, id)
            ).rowcount
            database.execute(
                "DELETE FROM handshakes WHERE subscription = ? AND place NOT IN "
                "(SELECT place FROM handshakes WHERE subscription = ? ORDER BY place DESC LIMIT ?)",
                (subscription, subscription, _MAX_HANDSHAKES),
            )
        return added == 1

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On disk on the way out, and undone after an error."""
        try:
            with self._lock, self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
        except sqlite3.Error as error:
            raise LedgerUnusable(f"{self.path}: {error}. Make room on the disk, or mend the file.") from error


def _set(database: sqlite3.Connection, subscription: str, number: int) -> None:
    database.execute(
        "INSERT INTO settled VALUES (?, ?) ON CONFLICT (subscription) DO UPDATE SET number = excluded.number",
        (subscription, number),
    )
