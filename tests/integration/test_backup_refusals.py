"""What `fhir-broker backup` and `restore` refuse, in one line that says what to do; nothing changes then."""

import json
from pathlib import Path

import pytest
import redis

from broker.app.backups import back_up, check, restore
from broker.app.secrets import new_ring
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.store import keys
from broker.store.backups import BackupRecord
from broker.store.embedded import EmbeddedServer
from broker.store.high_water import HighWaterMarks
from broker.store.migrations import SCHEMA_VERSION
from tests.conftest import LAYOUT
from tests.integration.commands import run

_KEY = "0123456789abcdef"


def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, partitions=LAYOUT.partitions, shards=LAYOUT.shards, audit=False)


def write_data(folder: Path, *sealing_keys: str, schema: int = SCHEMA_VERSION, numbered: int = 0) -> None:
    """A data set in which a shard has numbered so many events, and a process is registered."""
    server = EmbeddedServer(folder)
    server.start()
    with redis.Redis.from_url(server.url, protocol=2) as client:
        layout = {"schema": schema, "partitions": LAYOUT.partitions, "shards": LAYOUT.shards}
        client.hset(keys.LAYOUT, mapping=layout)
        client.hset(keys.fence(0), keys.numbered_field(0), numbered)
        client.hset(keys.PROCESSES, "of the other life", "{}")
        if sealing_keys:
            client.sadd(keys.SEALING_KEYS, *sealing_keys)
    server.stop()


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with a sealed value, and 17 numbered events."""
    folder: Path = tmp_path_factory.mktemp("backed-up")
    write_data(folder / "data", _KEY, numbered=17)
    back_up(settings(folder / "data"), folder / "backup")
    return folder / "backup"


def with_key(folder: Path) -> Settings:
    """The settings of a folder whose key ring has the key of the backup."""
    folder.mkdir(exist_ok=True)
    path = folder / "key-ring.json"
    new_ring().write(path, is_new=True)
    document = json.loads(path.read_text())
    document["keys"][0]["id"] = document["active"] = _KEY
    path.write_text(json.dumps(document))
    return settings(folder)


def test_a_backup_names_the_keys_that_it_needs_and_has_none(backup: Path) -> None:
    assert BackupRecord.read(backup).sealing_keys == (_KEY,)
    names = {path.name for path in backup.rglob("*") if path.is_file()}
    assert not {name for name in names if "key-ring" in name or "high-water" in name}
    assert {path.stat().st_mode & 0o077 for path in (backup, backup / "appendonlydir")} == {0}


def test_a_restore_without_the_keys_is_refused(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"sealed under {_KEY}, .*Restore the key ring"):
        restore(settings(tmp_path), backup, replace=False, nothing_newer=False)
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_skipped_unless_nothing_newer_was_accepted(backup: Path, tmp_path: Path) -> None:
    for name, nothing_newer in (("later", False), ("moved", True)):
        folder = tmp_path / name
        restored = restore(with_key(folder), backup, replace=False, nothing_newer=nothing_newer)
        assert restored.skips_numbers is not nothing_newer
        marks = HighWaterMarks.load(folder / "high-water.json")
        assert marks.numbered == ({} if nothing_newer else {(0, 0): 18}), "one more than the backup has"


def test_a_high_water_file_that_is_there_stays(backup: Path, tmp_path: Path) -> None:
    chosen = with_key(tmp_path)
    HighWaterMarks({(1, 2): 300}).save(tmp_path / "high-water.json")
    restore(chosen, backup, replace=False, nothing_newer=True)
    assert HighWaterMarks.load(tmp_path / "high-water.json").numbered == {(1, 2): 300}


def test_data_is_overwritten_by_no_restore_and_moved_aside_on_request(backup: Path, tmp_path: Path) -> None:
    chosen = with_key(tmp_path)
    write_data(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "appendonlydir").iterdir()}
    with pytest.raises(ConfigurationError, match=r"is not overwritten\. Restore with --replace"):
        restore(chosen, backup, replace=False, nothing_newer=False)
    restored = restore(chosen, backup, replace=True, nothing_newer=False)
    assert restored.previous is not None
    assert {path.name: path.read_bytes() for path in restored.previous.iterdir()} == before
    server = EmbeddedServer(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url, protocol=2) as client:
        assert client.hget(keys.fence(0), keys.numbered_field(0)) == b"17"
        assert client.exists(keys.PROCESSES) == 0, "no process of the other life counts as running"
    server.stop()


@pytest.mark.parametrize("damage", ["altered", "cut", "missing"])
def test_a_damaged_backup_is_refused_before_anything_changes(
    backup: Path, tmp_path: Path, damage: str
) -> None:
    copy = tmp_path / "copy"
    (copy / "appendonlydir").mkdir(parents=True)
    for path in backup.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(backup)).write_bytes(path.read_bytes())
    largest = max((copy / "appendonlydir").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        largest.unlink()
    else:
        largest.write_bytes(content if damage == "altered" else content[:-1])
    chosen = with_key(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=f"is damaged: appendonlydir/{largest.name} is"):
        check(chosen, copy)
    with pytest.raises(ConfigurationError, match=f"is damaged: appendonlydir/{largest.name} is"):
        restore(chosen, copy, replace=False, nothing_newer=False)
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"key-ring.json", "owner.lock"}


def test_a_data_set_of_an_older_schema_is_backed_up_and_restored_as_it_is(tmp_path: Path) -> None:
    write_data(tmp_path / "old", schema=SCHEMA_VERSION - 1)
    record = back_up(settings(tmp_path / "old"), tmp_path / "backup")
    assert record.schema == SCHEMA_VERSION - 1
    restored = restore(settings(tmp_path / "new"), tmp_path / "backup", replace=False, nothing_newer=True)
    assert restored.needs_migration


def test_a_backup_with_other_partitions_is_refused_with_the_setting(backup: Path, tmp_path: Path) -> None:
    with_key(tmp_path)
    with pytest.raises(ConfigurationError, match="set BROKER_PARTITIONS=4"):
        restore(Settings(data_dir=tmp_path), backup, replace=False, nothing_newer=False)
    assert not (tmp_path / "appendonlydir").exists()


def test_what_cannot_be_backed_up_is_refused(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"exists\. Name a folder that does not exist yet"):
        back_up(settings(tmp_path), backup)
    with pytest.raises(ConfigurationError, match="There is no data in BROKER_DATA_DIR"):
        back_up(settings(tmp_path / "empty"), tmp_path / "new")
    write_data(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="cannot be used: No such file or directory"):
        back_up(settings(tmp_path / "data"), tmp_path / "nowhere" / "new")
    with pytest.raises(ConfigurationError, match=r"is no backup: backup\.json cannot be read"):
        check(settings(tmp_path), tmp_path)


def test_a_shared_store_and_a_data_directory_in_use_are_refused_by_the_commands(
    backup: Path, tmp_path: Path
) -> None:
    for command in ("backup", "restore"):
        refused = run(command, str(backup), redis_url="redis://127.0.0.1:6379/0")
        assert refused.returncode == 2
        assert "its files are on the machine of its server" in refused.stderr
    with_key(tmp_path)
    server = EmbeddedServer(tmp_path)
    server.claim()
    refused = run("restore", "--replace", str(backup), data_dir=str(tmp_path))
    assert refused.returncode == 2
    assert "is in use by process" in refused.stderr
    server.stop()
    both = run("restore", "--check", "--replace", str(backup), data_dir=str(tmp_path))
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
