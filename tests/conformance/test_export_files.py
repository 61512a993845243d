"""The files of an export together have each resource of its moment once, whatever is written meanwhile."""

import random
from collections import Counter
from typing import Literal

import pytest

from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.services.export_reader import FileReader, plan_files
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.search_sets import SearchSets
from tests.conftest import ALL_STORES

STORES = ALL_STORES
OBSERVATION = "Observation"
NAMES = [f"r{number:02d}" for number in range(60)]


@pytest.fixture
async def changes(store: Store) -> Changes:
    return Changes(store, keep_ms=3_600_000)


@pytest.fixture
async def sets(store: Store) -> SearchSets:
    return SearchSets(store, Resources(store), DEFAULT_TENANT, OBSERVATION)


def proposal(resource_id: str, op: Literal["put", "delete"] = "put") -> Proposal:
    body = b"" if op == "delete" else b'},"status":"final"}'
    names = () if op == "delete" else ("m",)
    return Proposal(DEFAULT_TENANT, op, OBSERVATION, resource_id, Release.R4, body, sets=names)


class States:
    """Random changes, and what they make of each resource."""

    def __init__(self, changes: Changes, seed: int) -> None:
        self.current: dict[str, tuple[int, Interaction]] = {}
        self._changes = changes
        self._draw = random.Random(seed)

    async def change(self, count: int) -> None:
        batch = []
        for name in self._draw.sample(NAMES, count):
            exists = name in self.current and self.current[name][1] is not Interaction.DELETE
            batch.append(proposal(name, "delete" if exists and self._draw.random() < 0.4 else "put"))
        for sent, accepted in zip(batch, await self._changes.append(batch), strict=True):
            interaction = Interaction.DELETE if sent.op == "delete" else Interaction.UPDATE
            self.current[sent.id] = (accepted.key.version, interaction)

    def having(self, *, is_deleted: bool) -> dict[str, int]:
        return {
            name: version
            for name, (version, interaction) in self.current.items()
            if (interaction is Interaction.DELETE) is is_deleted
        }


@pytest.mark.parametrize("size", [4, 1_000])
async def test_files_have_each_resource_of_their_moment_once(
    changes: Changes, sets: SearchSets, size: int
) -> None:
    states = States(changes, size)
    for _ in range(6):
        await states.change(25)
    moment_ms = await sets.snapshot()
    expected = states.having(is_deleted=False)
    await states.change(20)  # before the files are planned
    files = await plan_files(sets, OBSERVATION, 0, moment_ms, size=size)
    assert len(files) > 5 if size == 4 else len(files) == 1
    reader = FileReader(sets, 0, moment_ms)
    for _ in range(2):  # a file that is read again is the same
        found = Counter[tuple[str, int]]()
        for file in files:
            assert not file.has_deletions
            async for versions in reader.resources(file):
                found.update((version.key.id, version.key.version) for version in versions)
                await states.change(3)
        assert found == Counter(expected.items())


async def test_an_export_since_another_has_what_was_changed_in_between(
    changes: Changes, sets: SearchSets
) -> None:
    states = States(changes, 7)
    await states.change(60)
    earlier = dict(states.current)
    since_ms = await sets.snapshot() + 1
    await states.change(30)
    moment_ms = await sets.snapshot()
    changed = {name: state for name, state in states.current.items() if earlier.get(name) != state}
    await states.change(30)
    files = await plan_files(sets, OBSERVATION, since_ms, moment_ms, size=5)
    reader = FileReader(sets, since_ms, moment_ms)
    found = dict[str, tuple[int, Interaction]]()
    for file in files:
        pieces = reader.deletions(file) if file.has_deletions else reader.resources(file)
        async for versions in pieces:
            for version in versions:
                is_deleted = version.resource is None
                assert is_deleted is file.has_deletions
                assert version.key.id not in found
                state = Interaction.DELETE if is_deleted else Interaction.UPDATE
                found[version.key.id] = (version.key.version, state)
    assert found == changed
