"""A change: one create, update or delete of one resource, accepted.

A stored version is immutable. `resource` has the JSON text exactly as it is served in its own release, with
the `id`, `meta.versionId` and `meta.lastUpdated` that the broker assigned; nothing is parsed and encoded
again on the way out.
"""

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NewType

from broker.model.release import Release
from broker.model.resource import Resource

if TYPE_CHECKING:  # a topic is defined by interactions, so it imports this module
    from broker.model.topic import Coding

Tenant = NewType("Tenant", str)
"""What a client belongs to; nothing crosses tenants."""

DEFAULT_TENANT = Tenant("default")
TENANT_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What names a tenant: the name is part of keys and metrics."""


class Interaction(StrEnum):
    """What happened to the resource (SubscriptionTopic.resourceTrigger.supportedInteraction)."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class VersionKey(NamedTuple):
    """Names one version of one resource."""

    tenant: Tenant
    type: str
    id: str
    version: int

    @property
    def reference(self) -> str:
        return f"{self.type}/{self.id}"


class Version(NamedTuple):
    """One version of one resource; `resource` is None for a deletion."""

    key: VersionKey
    release: Release
    interaction: Interaction
    at_ms: int
    resource: Resource | None


class Change(NamedTuple):
    """An accepted change as a matcher reads it.

    `id` is the entry id in the partition's stream: changes of one partition are ordered by it. `previous` is
    the version before (None on create). On delete `current.resource` is None. A change with `events` reports
    a business event about the resource, not a new state of it: only event triggers fire on it (R-052). A
    change with a `problem` could not be read in full. `trace` is the W3C traceparent of its request,
    `patient` the `Patient/id` that the resource is about, or empty: the audit trail names it.
    """

    id: str
    partition: int
    current: Version
    previous: Version | None
    events: "tuple[Coding, ...]" = ()
    problem: str = ""
    trace: str = ""
    patient: str = ""

    @property
    def interaction(self) -> Interaction:
        return self.current.interaction

    @property
    def release(self) -> Release:
        return self.current.release
