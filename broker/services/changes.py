"""Creates, updates, deletes and reads resources of the principal's tenant, alone or in a transaction.

A change is durable when its call returns. HTTP requests, entries of a Bundle and business events come through
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import Gone, Issue, NotFound
from broker.fhir.stored_versions import resource_in
from broker.ingest.intake import Intake
from broker.ingest.requests import Admission, ChangeRequest
from broker.ingest.transactions import TransactionEntry, submit_transaction
from broker.matching.restrictions import Restrictions
from broker.model.change import Version, VersionKey
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import alternatives
from broker.model.whole_number import whole_number
from broker.store.resources import Resources


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A stored version, and its resource in the requested release."""

    version: Version
    resource: Resource


class ChangeService:
    """Resources of the principal's tenant."""

    def __init__(self, intake: Intake, resources: Resources, restrictions: Restrictions) -> None:
        self._intake = intake
        self._resources = resources
        self._restrictions = restrictions

    async def submit(self, request: ChangeRequest) -> Admission:
        """Accepts one change; raises what `Intake.admit` raises."""
        return await self._intake.admit(await self._intake.validate_aside(request))

    async def submit_together(self, entries: Sequence[TransactionEntry]) -> list[Admission]:
        """Accepts all changes or none; the errors name the entries."""
        return await submit_transaction(self._intake, entries)

    async def read(
        self, principal: Principal, release: Release, resource_type: str, resource_id: str
    ) -> StoredResource:
        """The current version; raises `NotFound`, `Gone` or `NotAcceptable`.

        A resource that the scopes of the principal exclude by a restriction is not found.
        """
        version = await self._resources.current(principal.tenant, resource_type, resource_id)
        if version is None or not self._may_read(principal, version):
            text = f"{resource_type}/{resource_id} does not exist, or its retention has passed. Check the id."
            raise NotFound(Issue("not-found", text))
        return StoredResource(version, resource_in(version, release))

    async def read_version(
        self, principal: Principal, release: Release, resource_type: str, resource_id: str, number: str
    ) -> StoredResource:
        """One version; raises `NotFound`, `Gone` or `NotAcceptable`.

        Where the scopes of the principal have restrictions, that version and the current one have to meet
        them: what was given a higher security level is not read in its earlier versions either.
        """
        key = VersionKey(principal.tenant, resource_type, resource_id, whole_number(number) or 0)
        version = await self._resources.version(key)
        if version is not None and () in alternatives(principal.scopes, resource_type, "r"):
            return StoredResource(version, resource_in(version, release))
        current = await self._resources.current(principal.tenant, resource_type, resource_id)
        if current is not None and not self._may_read(principal, current):
            raise _no_version(key, number)
        if version is not None and self._may_read(principal, version):
            return StoredResource(version, resource_in(version, release))
        if version is None and current is not None and 0 < key.version < current.key.version:
            text = (
                f"The retention of version {number} of {key.reference} has passed. Read the current version."
            )
            raise Gone(Issue("deleted", text))
        raise _no_version(key, number)

    def _may_read(self, principal: Principal, version: Version) -> bool:
        return self._restrictions.allow(alternatives(principal.scopes, version.key.type, "r"), version)

    async def stored_resource(self, key: VersionKey) -> Resource | None:
        """The resource of a version as it was written; None for a deletion or if it is no longer stored."""
        version = await self._resources.version(key)
        return None if version is None else version.resource


def _no_version(key: VersionKey, number: str) -> NotFound:
    text = f"{key.reference} has no version {number}, or its retention has passed. Check the version."
    return NotFound(Issue("not-found", text))
