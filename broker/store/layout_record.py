"""The layout record: the schema version of a data set, and over how many partitions and shards its keys are
spread.

The first broker that opens an empty store writes the record. Every later start compares it with the settings
and refuses a data set that this broker would misread. `RedisStore.open` calls `verify`; `fhir-broker migrate`
calls `migrate`.
"""

from collections.abc import Sequence

from broker.errors import ConfigurationError
from broker.store import keys
from broker.store.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, path_from
from broker.store.protocol import Store
from broker.store.replies import mapping_of

_SCHEMA = "schema"


class LayoutRecord:
    """The record of one store. Tests pass a schema version and migrations of their own."""

    def __init__(
        self, store: Store, *, schema: int = SCHEMA_VERSION, migrations: Sequence[Migration] = MIGRATIONS
    ) -> None:
        self._store = store
        self._schema = schema
        self._migrations = migrations

    async def verify(self) -> None:
        """Raises `ConfigurationError` unless the data set has this broker's schema, partitions and shards."""
        # the schema comes first: a record that was written in part never looks like one from before the
        # schema
        mine = {_SCHEMA: self._schema, **self._numbers}
        stored = await self._read()
        if not stored or (_SCHEMA in stored and len(stored) < len(mine)):
            # only then: a store that is out of memory accepts no write
            await self._store.send([("HSETNX", keys.LAYOUT, field, value) for field, value in mine.items()])
            stored = await self._read()
        self._compare(stored)

    async def check(self) -> None:
        """`verify` without writing anything: an empty store has no record yet, and is as good as any."""
        stored = await self._read()
        if stored:
            self._compare(stored)

    def _compare(self, stored: dict[str, int]) -> None:
        self._check_schema(stored.pop(_SCHEMA, 0))
        for field, value in stored.items():
            if value != self._numbers[field]:
                name = f"BROKER_{field.upper()}"
                raise ConfigurationError(
                    f"the data set was created with {name}={value}, not {self._numbers[field]}, "
                    f"and the number cannot change; set {name}={value}"
                )

    @property
    def _numbers(self) -> dict[str, int]:
        return {"partitions": self._store.layout.partitions, "shards": self._store.layout.shards}

    async def schema(self) -> int:
        """The schema version of the data set; this broker's for an empty store."""
        stored = await self._read()
        return stored.get(_SCHEMA, 0) if stored else self._schema

    async def migrate(self) -> list[Migration]:
        """Runs the migrations that the data set needs, in order, and returns them. An empty store needs none.

        Raises `ConfigurationError` for a data set that no migration leads from.
        """
        version = await self.schema()
        steps = path_from(version, self._schema, self._migrations)
        if version > self._schema or steps is None:
            self._check_schema(version)
        for migration in steps or ():
            await migration.run(self._store)
            await self._store.send([("HSET", keys.LAYOUT, _SCHEMA, migration.version)])
        return steps or []

    def _check_schema(self, version: int) -> None:
        if version == self._schema:
            return
        if version > self._schema:
            raise ConfigurationError(
                f"the data set has schema {version}, and this broker supports {self._schema}; "
                "upgrade the broker (`fhir-broker migrate` only migrates to a newer schema)"
            )
        if path_from(version, self._schema, self._migrations) is None:
            raise ConfigurationError(
                f"the data set has schema {version}, and `fhir-broker migrate` has no migration from it to "
                f"{self._schema}; use an empty store, or the broker version that wrote the data set"
            )
        raise ConfigurationError(
            f"the data set has schema {version}, and this broker needs {self._schema}; "
            "stop all broker processes, then run `fhir-broker migrate`"
        )

    async def _read(self) -> dict[str, int]:
        (reply,) = await self._store.send([("HGETALL", keys.LAYOUT)])
        return {field.decode(): int(value) for field, value in mapping_of(reply).items()}
