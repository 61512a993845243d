"""Current versions of several resources at once, as chained filters ask for them."""

from typing import Literal

import pytest

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.release import Release
from broker.store.changes import Changes
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from tests.conftest import ALL_STORES

STORES = ALL_STORES


@pytest.fixture
async def changes(store: Store) -> Changes:
    return Changes(store, keep_ms=3_600_000)


def proposal(kind: str, resource_id: str, op: Literal["put", "delete"]) -> Proposal:
    return Proposal(
        tenant=DEFAULT_TENANT,
        op=op,
        type=kind,
        id=resource_id,
        release=Release.R4,
        tail=b"}}",
    )


async def test_each_stored_resource_is_returned_in_its_current_version(
    changes: Changes, store: Store
) -> None:
    for proposed in (
        proposal("Patient", "a", "put"),
        proposal("Patient", "a", "put"),
        proposal("Device", "a", "put"),
        proposal("Patient", "gone", "put"),
        proposal("Patient", "gone", "delete"),
    ):
        await changes.append([proposed])
    wanted = {("Patient", "a"), ("Device", "a"), ("Patient", "gone"), ("Patient", "never")}
    found = await Resources(store).current_many(DEFAULT_TENANT, wanted)
    assert set(found) == wanted - {("Patient", "never")}
    assert found["Patient", "a"].key.version == 2
    assert found["Device", "a"].key.version == 1
    assert found["Patient", "gone"].resource is None
    assert await Resources(store).current_many(Tenant("other"), wanted) == {}
    assert await Resources(store).current_many(DEFAULT_TENANT, set()) == {}
