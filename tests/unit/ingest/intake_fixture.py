"""An intake whose group commit appends to a list instead of a store, for the unit tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from broker.errors import Issue
from broker.ingest.conditions import Conditions
from broker.ingest.group import GroupCommit
from broker.ingest.intake import Intake
from broker.ingest.requests import ChangeRequest
from broker.ingest.validator import Validator
from broker.model.change import DEFAULT_TENANT, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.changes import Changes
from broker.store.proposals import Acceptance, Accepted, Proposal
from broker.store.resources import Resources


class Issues:
    """A validator that reports the same issues about every resource."""

    def __init__(self, *issues: Issue) -> None:
        self.issues = issues

    def validate(
        self, release: Release, resource_type: str, resource: Resource, producer: str = ""
    ) -> Sequence[Issue]:
        del release, resource_type, resource, producer
        return self.issues


class AppendedChanges:
    """The append of a group commit: remembers the proposals and accepts each."""

    def __init__(self) -> None:
        self.proposals: list[Proposal] = []

    async def append(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        self.proposals += proposals
        return [
            Accepted(Acceptance.CREATED, VersionKey(proposal.tenant, proposal.type, proposal.id, 1), 0)
            for proposal in proposals
        ]


@asynccontextmanager
async def running_intake(appended: AppendedChanges, validator: Validator) -> AsyncIterator[Intake]:
    """An intake for requests without a condition, which need neither `Changes` nor `Resources`."""
    group = GroupCommit(appended.append)
    loop = asyncio.create_task(group.run())
    yield Intake(cast("Changes", None), cast("Resources", None), group, cast("Conditions", None), validator)
    group.close()
    await loop


def create(text: bytes = b'{"resourceType":"Patient"}') -> ChangeRequest:
    return ChangeRequest(DEFAULT_TENANT, Release.R4, "create", "Patient", resource=Resource(text))
