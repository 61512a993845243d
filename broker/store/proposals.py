"""Changes that are proposed to the intake log, and what became of them."""

import os
import random
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from broker.model.audit import NOBODY, Requester
from broker.model.change import Tenant, VersionKey
from broker.model.precondition import UNCONDITIONAL, VersionCondition
from broker.model.release import Release
from broker.model.topic import Coding

_random = random.Random(os.urandom(16))
os.register_at_fork(after_in_child=_random.seed)  # else it would draw the ids of its parent


class Acceptance(StrEnum):
    """What became of one proposed change."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    REPORTED = "reported"  # a business event about the current version
    REPLAYED = "replayed"  # the same request came before; answered again, nothing written
    GONE = "gone"  # a delete of what is deleted already, or an event about it
    EXISTS = "exists"
    CONFLICT = "conflict"  # the version condition is not met
    ABSENT = "absent"
    MISMATCH = "mismatch"  # the idempotency key was used for another body
    FULL = "full"  # too many changes of the partition are not matched
    UNTRIED = ""  # another change of the transaction failed

    @property
    def is_refusal(self) -> bool:
        return self in {
            Acceptance.EXISTS,
            Acceptance.CONFLICT,
            Acceptance.ABSENT,
            Acceptance.MISMATCH,
            Acceptance.FULL,
            Acceptance.UNTRIED,
        }


ACCEPTANCES = {acceptance.encode(): acceptance for acceptance in Acceptance}
"""By the bytes that the store returns."""


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """One change as the producer asked for it. `tail` is that of `UnversionedResource` (model/resource.py).

    An `event` writes no version: `events` are the codings of what happened to the current one. `references`
    are the search parameters by which the resource is found, each with the `Type/id` it refers to. `sets`
    and `date` are its entries for searches (`matching/search_terms.py`). `trace` is
    the W3C traceparent of the request, or empty. `requester` and `patient` (`Patient/id`, or empty) are for
    the audit trail.
    """

    tenant: Tenant
    op: Literal["create", "put", "delete", "event"]
    type: str
    id: str
    release: Release
    tail: bytes = b""
    condition: VersionCondition = UNCONDITIONAL
    idempotency_key: str = ""
    digest: str = ""
    identifiers: tuple[str, ...] = ()
    events: tuple[Coding, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    sets: tuple[str, ...] = ()
    date: int = 0
    trace: str = ""
    requester: Requester = NOBODY
    patient: str = ""
    request_id: str = msgspec.field(default_factory=lambda: f"{_random.getrandbits(64):016x}")

    def key(self, version: int) -> VersionKey:
        """The resource's version of that number."""
        return VersionKey(self.tenant, self.type, self.id, version)


class Accepted(NamedTuple):
    """The answer to a proposal. `version` is the current one on a conflict."""

    status: Acceptance
    key: VersionKey
    at_ms: int
