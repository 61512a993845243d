"""`fhir-broker migrate` as an operator runs it."""

from pathlib import Path

from broker.store import keys
from broker.store.migrations import SCHEMA_VERSION
from broker.store.protocol import Store
from tests.integration.commands import run
from tests.stores import SharedStore


async def test_a_data_set_of_this_schema_needs_nothing(store: Store, shared_store: SharedStore) -> None:
    assert await store.send([("HGET", keys.LAYOUT, "schema")]) == [str(SCHEMA_VERSION).encode()]
    done = run("migrate", redis_url=shared_store.url)
    assert (done.returncode, done.stdout) == (
        0,
        "Nothing to do: the data set already has the schema of this broker.\n",
    )


async def test_a_data_set_that_cannot_be_migrated_is_refused_in_one_line(
    store: Store, shared_store: SharedStore
) -> None:
    await store.send([("HSET", keys.LAYOUT, "schema", 99)])
    for command in ("migrate", "api"):
        refused = run(command, redis_url=shared_store.url, port="0")
        assert refused.returncode == 2
        assert refused.stderr.startswith("fhir-broker: the data set has schema 99, ")
        assert refused.stderr.count("\n") == 1


def test_the_embedded_store_is_migrated_in_its_data_directory(tmp_path: Path) -> None:
    done = run("migrate", data_dir=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
