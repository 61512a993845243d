"""Which search indexes of the data set are complete, and the work to complete them.

The hash `broker:search-indexes` has the indexes of each type (`*`: of every type that it does not name) once
every stored resource is in them, and '' while they are built. Processes of one store have the same setting
(`BROKER_SEARCH_INDEXES`), so each write since their start follows it; what was written before is indexed by
`workers/search_builder.py`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from broker.model.change import Version, VersionKey
from broker.store import keys, search_keys
from broker.store.bodies import Bodies
from broker.store.open_work import claim_work
from broker.store.protocol import Command, ScanPlace, Store, WriteConcern
from broker.store.replies import mapping_of
from broker.store.resources import read_stored, unpack
from broker.store.scripts import search

ANY_TYPE = "*"
_BUILDING = ""
_PATTERN = "{p*}:resource:*"


class StoredState(NamedTuple):
    """The current version of a resource and the name of its string. It has no resource if it was deleted, or
    if its text cannot be read.
    """

    name: str
    version: Version


def stale_types(complete: Mapping[str, str], wanted: Mapping[str, str]) -> frozenset[str]:
    """The types whose resources have to be indexed again; `*` stands for every type that `wanted` does not
    name. Pure.
    """
    names = (complete.keys() | wanted.keys()) - {ANY_TYPE}
    stale = {name for name in names if _of(complete, name) != _of(wanted, name)}
    if complete.get(ANY_TYPE) != wanted.get(ANY_TYPE):
        stale.add(ANY_TYPE)
    return frozenset(stale)


def _of(table: Mapping[str, str], resource_type: str) -> str | None:
    return table.get(resource_type, table.get(ANY_TYPE))


class SearchBuilds:
    """The record of one store. `wanted` has the indexes of each type, or of `*`, as the settings do."""

    def __init__(self, store: Store, bodies: Bodies, wanted: Mapping[str, str]) -> None:
        self._store = store
        self._bodies = bodies
        self._wanted = wanted
        self._is_complete = False

    async def prepare(self) -> None:
        """Marks what is not complete. Call it before the first write of the process. A data set without a
        change is complete.
        """
        stale = await self.stale()
        if not stale:
            return
        partitions = range(self._store.layout.partitions)
        counted = await self._store.send([("HLEN", keys.partition_counters(each)) for each in partitions])
        if not any(counted):
            await self.complete()
        else:
            await self._store.send(
                [("HSET", search_keys.SEARCH_INDEXES, name, _BUILDING) for name in sorted(stale)]
            )

    async def stale(self) -> frozenset[str]:
        """The types that are not complete (`stale_types`)."""
        stale = stale_types(await self._read(), self._wanted)
        self._is_complete = not stale
        return stale

    async def is_complete(self, resource_type: str) -> bool:
        """Whether every stored resource of the type is in its indexes. It stays so: writes keep them."""
        if self._is_complete:
            return True
        stale = await self.stale()
        return resource_type not in stale and (resource_type in self._wanted or ANY_TYPE not in stale)

    async def complete(self) -> None:
        """Records that all types are complete."""
        others = (await self._read()).keys() - self._wanted.keys()
        commands: list[Command] = [
            ("HSET", search_keys.SEARCH_INDEXES, name, text) for name, text in self._wanted.items()
        ]
        commands += [("HDEL", search_keys.SEARCH_INDEXES, name) for name in sorted(others)]
        if commands:
            await self._store.send(commands)
        await self.stale()

    async def claim(self, owner: str) -> bool:
        """Whether this process builds now, as `claim_work` says."""
        return await claim_work(self._store, search_keys.SEARCH_BUILDER, owner)

    async def release(self, owner: str) -> None:
        """Ends the claim of this process."""
        if await self.claim(owner):
            await self._store.send([("DEL", search_keys.SEARCH_BUILDER)])

    async def resources(self, stale: frozenset[str]) -> AsyncIterator[Sequence[StoredState]]:
        """The current versions, deletions too, of all resources of stale types, in pages."""
        place: ScanPlace | None = ScanPlace()
        while place is not None:
            place, names = await self._store.scan_keys(_PATTERN, place)
            wanted = {name: key for name in names if (key := self._stale_key(name, stale)) is not None}
            commands: list[Command] = [("GET", name) for name in wanted]
            page = []
            for (name, key), content in zip(
                wanted.items(), await self._store.send(commands) if commands else (), strict=True
            ):
                if content is None:
                    continue
                page.append(StoredState(name.decode(), self._version(key, content)))
            yield page

    def _version(self, key: VersionKey, content: bytes) -> Version:
        stored = read_stored(content)
        key = key._replace(version=stored.number)
        try:
            return unpack(key, stored, self._bodies)
        except ValueError:
            return Version(key, stored.release, stored.interaction, stored.at_ms, None)

    def _stale_key(self, name: bytes, stale: frozenset[str]) -> VersionKey | None:
        """None for a superseded version, the record of a business event, and a type that is complete."""
        tenant, reference = keys.resource_of(name)
        resource_type, _, resource_id = reference.partition("/")
        is_other = not name.endswith(f":{reference}".encode())
        is_stale = resource_type in stale or (ANY_TYPE in stale and resource_type not in self._wanted)
        return None if is_other or not is_stale else VersionKey(tenant, resource_type, resource_id, 0)

    async def index(self, states: Sequence[tuple[StoredState, Sequence[str] | None, int]]) -> None:
        """Puts resources into their sets, each with its date; None: their type has no indexes any more. One
        that was written meanwhile is left as it is.
        """
        calls = [
            search.index_resource_call(self._store, state.name, state.version.key, sets, date)
            for state, sets, date in states
        ]
        if calls:
            await self._store.run_many(calls, WriteConcern.DURABLE)

    async def _read(self) -> dict[str, str]:
        (reply,) = await self._store.send([("HGETALL", search_keys.SEARCH_INDEXES)])
        return {name.decode(): text.decode() for name, text in mapping_of(reply).items()}
