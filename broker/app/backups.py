"""What `fhir-broker backup` and `restore` do: they copy the data of an embedded store, and bring it back.

A backup is made beside the processes that use the store. A restore claims the data directory, loads the copy
with a server of its own, and puts it in place as a whole or not at all.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from broker import __version__
from broker.app.stores import claimed_server, reachable_store, unopened_store
from broker.clock import SystemClock, to_instant
from broker.errors import ConfigurationError
from broker.model.audit import AuditAction, AuditEntry
from broker.model.change import DEFAULT_TENANT
from broker.security.key_ring import RingFile
from broker.settings import Settings
from broker.store import backups, keys
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.backups import BackupRecord
from broker.store.embedded import EmbeddedServer
from broker.store.high_water import HighWaterMarks
from broker.store.layout_record import LayoutRecord
from broker.store.migrations import SCHEMA_VERSION
from broker.store.protocol import Store
from broker.store.sealing_keys import SealingKeys

_FIRST = (0, 0)
"""A shard and a partition: one mark that the store does not reach is enough, all shards then skip numbers."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The outcome of a restore. `previous` is where the data went that was there; `skips_numbers`: every
    Subscription skips numbers at the next start, since numbers behind the backup may have been used.
    """

    record: BackupRecord
    keys: int
    previous: Path | None
    skips_numbers: bool

    @property
    def needs_migration(self) -> bool:
        return self.record.schema < SCHEMA_VERSION


def back_up(settings: Settings, folder: Path) -> BackupRecord:
    """Copies the data to `folder`, which must not exist. Raises `ConfigurationError`."""
    _refuse_shared(settings, "backed up")
    if folder.exists():
        raise ConfigurationError(f"{folder} exists. Name a folder that does not exist yet.")
    if not backups.has_data(settings.data_dir):
        raise ConfigurationError(
            f"There is no data in BROKER_DATA_DIR={settings.data_dir}. Set it to that of the broker."
        )
    with (
        _files_of(folder),
        reachable_store(settings) as url,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging,
    ):
        made = to_instant(SystemClock().now_ms())
        asyncio.run(_record(settings, url, f"the data is backed up to {folder}"))
        made_here = Path(staging) / "backup"
        made_here.mkdir(mode=0o700)
        files = backups.copy_data(settings.data_dir, made_here / backups.FOLDER)
        # after the copy: a key is recorded before anything is sealed under it
        schema, needed = asyncio.run(_described(settings, url))
        record = BackupRecord(made, __version__, schema, tuple(sorted(needed)), files)
        record.write(made_here)
        backups.move(made_here, folder)
    return record


def check(settings: Settings, folder: Path) -> Restored:
    """Compares the checksums of a backup and loads it, in a temporary folder. Raises `ConfigurationError`."""
    record = BackupRecord.read(folder)
    with _files_of(folder), tempfile.TemporaryDirectory(prefix="fhir-broker-") as staging:
        count, _ = asyncio.run(_loaded(settings, record, folder, Path(staging), is_restored=False))
    return Restored(record, count, None, skips_numbers=False)


def restore(settings: Settings, folder: Path, *, replace: bool, nothing_newer: bool) -> Restored:
    """Brings the data of a backup to the data directory, which no process may use.

    With `replace`, data that is there is kept beside it. Unless `nothing_newer` was accepted after the
    backup, numbers that may have been used are skipped: by the high-water file that is there, or by one that
    is made. Raises `ConfigurationError`; the data directory is then as it was.
    """
    _refuse_shared(settings, "restored")
    record = BackupRecord.read(folder)
    _check_keys(settings, record)
    marks = settings.high_water_path
    assert marks is not None  # noqa: S101 an embedded store has a file
    with _files_of(settings.data_dir), claimed_server(settings):
        target = settings.data_dir / backups.FOLDER
        if target.exists() and not replace:
            raise ConfigurationError(
                f"{target} exists, and is not overwritten. Restore with --replace to move it aside, or set "
                "another BROKER_DATA_DIR."
            )
        with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix=".restore-") as staging:
            count, numbered = asyncio.run(_loaded(settings, record, folder, Path(staging), is_restored=True))
            previous = _aside(target) if target.exists() else None
            if not nothing_newer and not marks.exists():
                HighWaterMarks(numbered={_FIRST: numbered + 1}).save(marks)
            if previous is not None:
                backups.move(target, previous)
            backups.move(Path(staging) / backups.FOLDER, target)
    return Restored(record, count, previous, skips_numbers=not nothing_newer)


def _refuse_shared(settings: Settings, done: str) -> None:
    if settings.redis_url is not None:
        raise ConfigurationError(
            f"The store of BROKER_REDIS_URL is not {done} by this command: its files are on the machine of"
            " its server, and are copied there (docs/backup.md). The command works on an embedded store."
        )


def _check_keys(settings: Settings, record: BackupRecord) -> None:
    """Raises `ConfigurationError` unless the key ring has every key that the data needs."""
    path = settings.key_ring_path
    assert path is not None  # noqa: S101 an embedded store has a file
    present = {key.id for key in RingFile.read(path).keys} if path.exists() else set()
    if missing := sorted(set(record.sealing_keys) - present):
        raise ConfigurationError(
            f"The backup has values sealed under {', '.join(missing)}, which the key ring {path} does not"
            " have. Restore the key ring from its own backup first."
        )


async def _loaded(
    settings: Settings, record: BackupRecord, folder: Path, staging: Path, *, is_restored: bool
) -> tuple[int, int]:
    """Copies the backup to `staging`, and has a server load it. The number of its keys, and how many events
    it has numbered in the first shard from the first partition.
    """
    backups.copy_backup(folder, record.files, staging / backups.FOLDER)
    server = EmbeddedServer(staging, durability=settings.durability)
    try:
        await asyncio.to_thread(server.start)
        async with _opened(settings, server.url) as store:
            if record.schema >= SCHEMA_VERSION:
                await LayoutRecord(store).verify()
            # of another life of the data: none of them uses the copy
            await store.send([("DEL", keys.PROCESSES)])
            numbered_command = ("HGET", keys.fence(_FIRST[0]), keys.numbered_field(_FIRST[1]))
            count, numbered = await store.send([("DBSIZE",), numbered_command])
        if is_restored:
            await _record(settings, server.url, f"the data is restored from the backup of {record.made}")
    finally:
        await asyncio.to_thread(server.stop)
    return int(count), int(numbered or 0)


@contextlib.asynccontextmanager
async def _opened(settings: Settings, url: str) -> AsyncIterator[Store]:
    """The store, whatever its schema."""
    store = unopened_store(settings, url)
    try:
        await store.open_unverified()
        yield store
    finally:
        await store.close()


async def _described(settings: Settings, url: str) -> tuple[int, frozenset[str]]:
    """The schema of the data, and the ids of the keys that it needs."""
    async with _opened(settings, url) as store:
        return await LayoutRecord(store).schema(), await SealingKeys(store).all()


async def _record(settings: Settings, url: str, detail: str) -> None:
    """Leaves an entry in the audit trail, if this broker can write it."""
    if not settings.audit:
        return
    async with _opened(settings, url) as store:
        if await LayoutRecord(store).schema() == SCHEMA_VERSION:
            await AuditTrail(store).add_tenant(DEFAULT_TENANT)
            entry = AuditEntry(AuditAction.ADMINISTER, detail=detail)
            await AuditJournal(store).record(DEFAULT_TENANT, entry)


def _aside(target: Path) -> Path:
    """Where data that is replaced goes."""
    second = to_instant(SystemClock().now_ms())[:19]
    return target.with_name(f"{target.name}-replaced-{second.replace(':', '')}")


@contextlib.contextmanager
def _files_of(folder: Path) -> Iterator[None]:
    """Reports what the file system refuses as what the operator has to correct."""
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else folder
        raise ConfigurationError(
            f"{name} cannot be used: {error.strerror}. Check its permissions and the free space of its disk."
        ) from error
