"""Opens a SQLite file that belongs to one process at a time and keeps what was committed through a kill and a
loss of power: the offline buffer of a producer, the ledger of a receiver.
"""

import sqlite3
from pathlib import Path


def open_owned(
    path: Path | None,
    tables: str,
    file_format: int,
    what: str,
    in_use: type[Exception],
    unusable: type[Exception],
) -> sqlite3.Connection:
    """Opens or creates the file, in memory without one; threads may share the connection under a lock.

    `tables` are the statements that create what is missing, `what` names the file in messages. Raises
    `in_use` if another process has it open, and `unusable` if it cannot be opened, is another kind of file,
    or has another format.
    """
    try:
        database = sqlite3.connect(
            path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise unusable(f"{path}: {error}. Name a file in a directory that can be written.") from error
    try:
        version = _prepare(database, tables, file_format)
    except sqlite3.DatabaseError as error:
        database.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise in_use(f"Another process uses {path}. Stop it, or name another file.") from error
        raise unusable(f"{path}: {error}. Move the file away; it is no {what}, or damaged.") from error
    if version not in {0, file_format}:
        database.close()
        raise unusable(f"{path} has the format {version}; this program reads {file_format}. Update it.")
    return database


def _prepare(database: sqlite3.Connection, tables: str, file_format: int) -> int:
    """The format that the file had, 0 for a new one; one of another format is left as it is."""
    # one owner: the lock is held until the process ends, however it ends
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
    version: int
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version in {0, file_format}:
        database.executescript(f"BEGIN EXCLUSIVE;{tables}COMMIT;PRAGMA user_version = {file_format};")
    return version
