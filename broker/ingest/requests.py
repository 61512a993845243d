"""A change as a producer requests it, and the result of its admission."""

from typing import Literal, NamedTuple

from broker.errors import Issue
from broker.fhir.criteria import Criteria
from broker.ingest.patches import Patch
from broker.model.audit import NOBODY, Requester
from broker.model.change import Tenant
from broker.model.precondition import UNCONDITIONAL, VersionCondition
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Coding
from broker.store.proposals import Accepted


class ChangeRequest(NamedTuple):
    """One change as a producer requests it.

    `resource` is None for a delete and an event. A create has an `id` only if it was planned before (in a
    transaction). An `event` reports `events` about the resource as it is stored; its idempotency key is
    remembered with that resource. `trace` is the traceparent that the change and its
    events carry, '' for that of the HTTP request that is answered.

    `condition` is about the current version. `criteria` name the resource of a conditional request: a create
    writes nothing if one matches; an update or delete is about the one that matches. The `id` of a
    conditional update is that of its body, or ''. `patch` makes the resource of an update from the stored
    one. `fingerprint` tells requests under one idempotency key apart; it is set once `criteria` and `patch`
    are resolved (`ingest/conditions.py`), so that a repetition has the same. `warnings` are those of a
    `resource` that was found valid before (`Intake.validate_aside`), else None. `requester` is who the audit
    trail names.
    """

    tenant: Tenant
    release: Release
    op: Literal["create", "put", "delete", "event"]
    type: str
    id: str = ""
    resource: Resource | None = None
    condition: VersionCondition = UNCONDITIONAL
    criteria: Criteria | None = None
    patch: Patch | None = None
    idempotency_key: str = ""
    fingerprint: str = ""
    events: tuple[Coding, ...] = ()
    trace: str = ""
    requester: Requester = NOBODY
    warnings: tuple[Issue, ...] | None = None

    @property
    def is_about_stored(self) -> bool:
        """Whether what is written depends on what is stored, so that the store must be read first."""
        return self.criteria is not None or self.patch is not None


class Admission(NamedTuple):
    """The result of an admitted request.

    `accepted` is None if nothing was to be written: the criteria of a create matched `existing_id`, or those
    of a delete matched nothing. `stored`
    is the resource that the request wrote; None for a deletion, and if an earlier request wrote it (then read
    it). `warnings` are issues that did not prevent the change; they can accompany a 2xx.
    """

    request: ChangeRequest
    accepted: Accepted | None
    existing_id: str = ""
    stored: Resource | None = None
    warnings: tuple[Issue, ...] = ()
