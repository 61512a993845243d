"""All stored resources of a type: current versions only, of one tenant, sealed or not."""

from collections.abc import Sequence

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.release import Release
from broker.store import keys
from broker.store.bodies import UNSEALED
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.stored_types import StoredTypes

OTHER = Tenant("other")


async def put(store: Store, *names: str, tenant: Tenant = DEFAULT_TENANT, word: str = "") -> None:
    tail = f'}},"language":"{word}"}}'.encode() if word else b"}}"
    proposals = []
    for name in names:
        resource_type, _, resource_id = name.partition("/")
        proposals.append(Proposal(tenant, "put", resource_type, resource_id, Release.R4, tail))
    await Changes(store, keep_ms=3_600_000).append(proposals)


async def listed(store: Store, resource_type: str, tenant: Tenant = DEFAULT_TENANT) -> Sequence[str]:
    found = StoredTypes(store, UNSEALED).of_type(tenant, resource_type)
    return sorted([each.reference async for each in found])


async def test_the_current_versions_of_a_type_are_listed_once(store: Store) -> None:
    observations = sorted(f"Observation/n{n}" for n in range(600))
    await put(store, *observations, "Patient/p", "ObservationDefinition/d")
    await put(store, "Observation/n1", word="de")
    await put(store, "Observation/theirs", tenant=OTHER)
    delete = Proposal(DEFAULT_TENANT, "delete", "Observation", "n2", Release.R4, b"")
    await Changes(store, keep_ms=3_600_000).append([delete])
    assert await listed(store, "Observation") == [name for name in observations if name != "Observation/n2"]
    assert await listed(store, "Patient") == ["Patient/p"]
    assert await listed(store, "Observation", OTHER) == ["Observation/theirs"]
    assert await listed(store, "Device") == []
    found = {
        each.reference: each.version
        async for each in StoredTypes(store, UNSEALED).of_type(DEFAULT_TENANT, "Observation")
    }
    version = found["Observation/n1"]
    assert version is not None
    assert version.resource is not None
    assert (version.key.version, version.resource.fields["language"]) == (2, "de")


async def test_a_resource_that_cannot_be_read_is_listed_without_its_version(store: Store) -> None:
    await put(store, "Patient/good", "Patient/bad")
    partition = store.layout.partition_of(DEFAULT_TENANT, "bad")
    await store.send([("SET", keys.resource(partition, DEFAULT_TENANT, "Patient", "bad"), b"damaged")])
    found = [each async for each in StoredTypes(store, UNSEALED).of_type(DEFAULT_TENANT, "Patient")]
    assert {each.reference for each in found if each.version is None} == {"Patient/bad"}
    assert {each.reference for each in found if each.version is not None} == {"Patient/good"}
