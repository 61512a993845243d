"""The layout record is written once, compared at every start, and raised by migrations: on every store."""

from collections.abc import AsyncIterator

import pytest

from broker.errors import ConfigurationError
from broker.store import keys
from broker.store.keys import Layout
from broker.store.layout_record import LayoutRecord
from broker.store.migrations import SCHEMA_VERSION, Migration
from broker.store.protocol import Store
from broker.store.redis_store import RedisStore, connect
from broker.store.replies import mapping_of
from tests.conftest import ALL_STORES, LAYOUT
from tests.stores import SharedStore

STORES = ALL_STORES


@pytest.fixture
async def empty(shared_store: SharedStore) -> AsyncIterator[RedisStore]:
    """An empty store that no broker has opened."""
    await shared_store.flush()
    store = connect(shared_store.url, LAYOUT)
    await store.open_unverified()
    yield store
    await store.close()


async def record(store: Store) -> dict[bytes, bytes]:
    (reply,) = await store.send([("HGETALL", keys.LAYOUT)])
    return mapping_of(reply)


async def write(store: Store, **fields: int) -> None:
    await store.send([("HSET", keys.LAYOUT, field, value) for field, value in fields.items()])


async def add_field(store: Store, field: str) -> None:
    await store.send([("HSET", "test:migrated", field, 1)])


def steps(*versions: int) -> list[Migration]:
    return [
        Migration(version, f"step {version}", lambda store, version=version: add_field(store, str(version)))  # type: ignore[misc]  # the loop's value
        for version in versions
    ]


async def test_the_first_start_writes_the_record_and_the_next_accepts_it(empty: RedisStore) -> None:
    await empty.open()
    assert await record(empty) == {
        b"schema": str(SCHEMA_VERSION).encode(),
        b"partitions": b"4",
        b"shards": b"4",
    }
    await empty.open()


async def test_a_record_that_was_written_in_part_is_completed(empty: RedisStore) -> None:
    await write(empty, schema=SCHEMA_VERSION)
    await empty.open()
    assert (await record(empty))[b"partitions"] == b"4"


async def test_another_number_of_partitions_is_refused_with_the_setting(
    empty: RedisStore, shared_store: SharedStore
) -> None:
    await empty.open()
    other = connect(shared_store.url, Layout(partitions=8, shards=4))
    with pytest.raises(ConfigurationError, match=r"set BROKER_PARTITIONS=4$"):
        await other.open()
    await other.close()


async def test_an_older_schema_is_refused_with_the_command_that_migrates_it(empty: RedisStore) -> None:
    await write(empty, schema=1, partitions=4, shards=4)
    layout_record = LayoutRecord(empty, schema=3, migrations=steps(2, 3))
    with pytest.raises(ConfigurationError, match=r"schema 1, .* needs 3; .* run `fhir-broker migrate`$"):
        await layout_record.verify()
    assert [migration.title for migration in await layout_record.migrate()] == ["step 2", "step 3"]
    assert (await record(empty))[b"schema"] == b"3"
    assert await empty.send([("HLEN", "test:migrated")]) == [2]
    await layout_record.verify()
    assert await layout_record.migrate() == []


async def test_a_newer_schema_is_refused_and_not_migrated(empty: RedisStore) -> None:
    await write(empty, schema=SCHEMA_VERSION + 1, partitions=4, shards=4)
    for refused in (empty.open, LayoutRecord(empty).migrate):
        with pytest.raises(ConfigurationError, match=r"schema \d+, .* supports \d+; upgrade the broker"):
            await refused()


async def test_a_data_set_without_a_schema_version_has_no_migration(empty: RedisStore) -> None:
    await write(empty, partitions=4, shards=4)
    for refused in (empty.open, LayoutRecord(empty).migrate):
        with pytest.raises(ConfigurationError, match=r"schema 0, .*`fhir-broker migrate` has no migration"):
            await refused()
    assert b"schema" not in await record(empty)


async def test_a_data_set_without_a_schema_version_is_migrated_by_a_first_migration(
    empty: RedisStore,
) -> None:
    await write(empty, partitions=4, shards=4)
    layout_record = LayoutRecord(empty, schema=1, migrations=steps(1))
    with pytest.raises(ConfigurationError, match="run `fhir-broker migrate`"):
        await layout_record.verify()
    assert len(await layout_record.migrate()) == 1
    await layout_record.verify()


async def test_an_interrupted_migration_runs_again_from_the_step_that_failed(empty: RedisStore) -> None:
    await write(empty, schema=1, partitions=4, shards=4)

    async def fail(_: Store) -> None:
        raise ConnectionError("interrupted")

    failing = [*steps(2), Migration(3, "step 3", fail)]
    with pytest.raises(ConnectionError):
        await LayoutRecord(empty, schema=3, migrations=failing).migrate()
    assert (await record(empty))[b"schema"] == b"2"
    rest = await LayoutRecord(empty, schema=3, migrations=steps(2, 3)).migrate()
    assert [migration.version for migration in rest] == [3]


async def test_an_empty_store_needs_no_migration(empty: RedisStore) -> None:
    assert await LayoutRecord(empty).migrate() == []
    assert await record(empty) == {}
