"""Tells all processes when something was written that readings may wait for or that they know of.

`Intake` calls `report` after each change; every process follows, drops what it knew of the resource, and the
one that holds the lease processes the readings that waited for it.
"""

from collections.abc import Awaitable, Callable

from broker.fhir.device_associations import ASSOCIATION_TYPES, awaited_by_readings
from broker.ingest.requests import ChangeRequest
from broker.model.change import Tenant
from broker.store.proposals import Acceptance, Accepted

WATCHED_TYPES = frozenset({"Device", "Patient", *ASSOCIATION_TYPES})
Announce = Callable[[Tenant, list[str]], Awaitable[None]]


class WrittenResources:
    """`announce` publishes the names of what was written; no name stands for anything."""

    def __init__(self, announce: Announce) -> None:
        self._announce = announce

    async def report(self, request: ChangeRequest, accepted: Accepted) -> None:
        """The change was accepted."""
        if request.type not in WATCHED_TYPES:
            return
        names = list(awaited_by_readings(request.type, accepted.key.id, request.resource))
        if request.type == "Patient":
            names.append(accepted.key.reference)
        if request.type in ASSOCIATION_TYPES and accepted.status is not Acceptance.CREATED:
            names = []  # it may have been about another device before
        elif request.resource is None:
            names = [accepted.key.reference]
        await self._announce(request.tenant, names)
