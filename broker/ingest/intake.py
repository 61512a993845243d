"""Turns a request into an accepted change: validate, plan the id, make repetition harmless, append.

Raises `RequestError`s for what the caller must mend and `StoreUnavailable` when nothing could be promised. Nothing here
answers before the store has made the change durable.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec

from broker import failpoints
from broker.clock import to_instant
from broker.errors import Conflict, Gone, Issue, NotFound, PreconditionFailed, StoreFull, Unprocessable
from broker.fhir import documents
from broker.fhir.release import adapter
from broker.ingest.group import GroupCommit
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.topic import Coding
from broker.store import keys
from broker.store.changes import Changes, SeveralPartitions
from broker.store.proposals import Acceptance, Accepted, Proposal
from broker.store.resources import Resources, assign_id


class Request(NamedTuple):
    """One change as a producer asks for it.

    `condition` is the identifier token of If-None-Exist; the `id` of a create is one that was planned (for a transaction).
    An `event` reports `events` about the resource as it is; its idempotency key is remembered with that resource.
    """

    tenant: Tenant
    release: Release
    op: Literal["create", "put", "delete", "event"]
    type: str
    id: str = ""
    body: bytes = b""
    expected_version: str = ""
    idempotency_key: str = ""
    condition: str = ""
    events: tuple[Coding, ...] = ()


References = Callable[[Release, str, bytes], tuple[tuple[str, str], ...]]
"""The references by which a resource of a release and type is to be found: parameter, and `Type/id` it refers to."""


class Admission(NamedTuple):
    """What became of a request. `accepted` is None where a condition found `existing_id` and nothing was to be done.

    `stored` is the resource as it is kept now; empty where an earlier request wrote it (read it then), and for a deletion.
    """

    request: Request
    accepted: Accepted | None
    existing_id: str = ""
    stored: bytes = b""


class Intake:
    """The one way in, for HTTP and for the inbox stream."""

    def __init__(
        self,
        changes: Changes,
        resources: Resources,
        group: GroupCommit,
        references: References = lambda _release, _type, _body: (),
    ) -> None:
        self._changes = changes
        self._resources = resources
        self._group = group
        self._references = references

    async def admit(self, request: Request) -> Admission:
        """Accepts one change on its own.

        Requests without a condition reach the store in the order in which `admit` was called.
        """
        _validate(request)
        if request.condition:
            existing = await self.matching(request)
            if existing:
                return Admission(request, None, existing)
        proposal = self.propose(request)
        accepted = (await self._group.submit([proposal]))[0]
        if accepted.status is Acceptance.EXISTS:
            accepted = await self._repeated_create(proposal)
        _raise_for(request, accepted)
        failpoints.hit("intake.before-answer")
        return Admission(request, accepted, stored=_stored(proposal, accepted))

    async def admit_together(self, requests: Sequence[Request]) -> list[Admission]:
        """Accepts all of them or none: a transaction. Conditions and ids were settled by the caller (`plan`)."""
        for request in requests:
            _validate(request)
        proposals = [self.propose(request) for request in requests]
        answers = await self._append_together(proposals) if proposals else []
        for n, (request, accepted) in enumerate(zip(requests, answers, strict=True)):
            if accepted.status is not Acceptance.UNTRIED:
                _raise_for(request, accepted, f"Bundle.entry[{n}]")
        return [
            Admission(request, accepted, stored=_stored(proposal, accepted))
            for request, proposal, accepted in zip(requests, proposals, answers, strict=True)
        ]

    async def _append_together(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        try:
            return await self._changes.append_together(proposals)
        except SeveralPartitions as error:
            first, other = proposals[0], proposals[error.index]
            text = (
                f"{other.type}/{other.id} and {first.type}/{first.id} lie in different partitions of the store, a Cluster, "
                "and no transaction reaches both. Let the broker assign their ids (POST), or send a batch."
            )
            raise Unprocessable(Issue("not-supported", text, f"Bundle.entry[{error.index}]")) from None

    async def matching(self, request: Request) -> str:
        """The id of the one resource that meets the request's condition, or ''. Several: `PreconditionFailed`."""
        found = await self._resources.find(request.tenant, request.type, request.condition)
        if len(found) > 1:
            raise PreconditionFailed(
                Issue(
                    "multiple-matches",
                    f"If-None-Exist: {len(found)} {request.type} resources carry {request.condition}",
                )
            )
        return found[0] if found else ""

    async def _repeated_create(self, proposal: Proposal) -> Accepted:
        """The planned id is taken: by an earlier send of the same request, or by a resource deleted since."""
        current = await self._resources.current(proposal.tenant, proposal.type, proposal.id)
        if current is None or current.body is None:
            return (await self._group.submit([msgspec.structs.replace(proposal, op="put")]))[0]
        return Accepted(Acceptance.REPLAYED, current.key, current.at_ms)

    def propose(self, request: Request) -> Proposal:
        """The change for the store: id, placement, stored bytes, and what makes its repetition harmless."""
        one = request.id or self.plan_id(request)
        digest = ""
        identifiers: tuple[str, ...] = ()
        references: tuple[tuple[str, str], ...] = ()
        if request.idempotency_key:
            asked = f"{request.op} {request.type}/{request.id if request.op != 'create' else ''}\n".encode()
            told = "".join(f"{one.system}|{one.code}\n" for one in request.events).encode()
            digest = hashlib.sha256(asked + told + request.body).hexdigest()[:32]
        if request.op in {"delete", "event"}:
            head, tail = b"", b""
        else:
            head, tail = documents.split(request.body, type=request.type, id=one)
            identifiers = tuple(documents.identifiers(request.body))
            references = self._references(request.release, request.type, request.body)
        return Proposal(
            tenant=request.tenant,
            op=request.op,
            type=request.type,
            id=one,
            release=request.release,
            head=head,
            tail=tail,
            expected_version=request.expected_version,
            idempotency_key=request.idempotency_key,
            digest=digest,
            identifiers=identifiers,
            events=request.events,
            references=references,
        )

    def plan_id(self, request: Request, placement: int | None = None) -> str:
        """A new resource's id, placed with its patient; the same for a repetition under the same key or condition."""
        seed = ""
        if request.idempotency_key or request.condition:
            seed = f"{request.tenant}\n{request.type}\n{request.idempotency_key or '?' + request.condition}"
        if placement is None:
            placement = self.plan_placement(request, seed)
        return assign_id(placement, seed)

    def plan_placement(self, request: Request, seed: str = "") -> int:
        """Where a new resource goes: to its patient; else where its seed says, or anywhere."""
        patient = documents.patient_reference(request.body)
        if patient and patient.startswith("Patient/"):
            return keys.placement(request.tenant, patient.removeprefix("Patient/"))
        return keys.placement(request.tenant, seed) if seed else random.getrandbits(16)


def _stored(proposal: Proposal, accepted: Accepted) -> bytes:
    if accepted.status not in {Acceptance.CREATED, Acceptance.UPDATED}:
        return b""
    meta = f'"versionId":"{accepted.key.version}","lastUpdated":"{to_instant(accepted.at_ms)}"'
    return proposal.head + meta.encode() + proposal.tail


def _validate(request: Request) -> None:
    if request.op in {"delete", "event"}:
        return
    adapter(request.release).validate(request.type, request.body)
    if request.op == "put":
        held = documents.resource_id(request.body)
        if held != request.id:
            raise Unprocessable(
                Issue("invalid", f"the body's id is {held!r}, the URL's {request.id!r}", f"{request.type}.id")
                if held
                else Issue("required", "an update needs the id of the URL in its body", f"{request.type}.id")
            )


def _raise_for(request: Request, accepted: Accepted, where: str = "") -> None:
    name = f"{request.type}/{request.id or accepted.key.id}"
    match accepted.status:
        case Acceptance.ABSENT | Acceptance.GONE if request.op == "event":
            is_gone = accepted.status is Acceptance.GONE
            text = f"focus: {name} {'was deleted' if is_gone else 'is not stored here'}"
            raise Unprocessable(Issue("deleted" if is_gone else "not-found", text, where or "focus"))
        case Acceptance.CONFLICT:
            raise PreconditionFailed(
                Issue(
                    "conflict",
                    f"{name} is at version {accepted.key.version}, not {request.expected_version}",
                    where or None,
                )
            )
        case Acceptance.ABSENT:
            raise NotFound(Issue("not-found", f"{name} does not exist", where or None))
        case Acceptance.MISMATCH:
            raise Unprocessable(
                Issue(
                    "business-rule",
                    f"the idempotency key was used for another request ({name})",
                    where or None,
                )
            )
        case Acceptance.FULL:
            raise StoreFull("too many changes wait to be matched (BROKER_MAX_CHANGES); is a matcher running?")
        case Acceptance.EXISTS:
            raise Conflict(Issue("conflict", f"{name} exists already", where or None))
        case Acceptance.GONE if request.expected_version:
            raise Gone(Issue("deleted", f"{name} was deleted", where or None))
        case _:
            return
