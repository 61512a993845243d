"""Turns a request into an accepted change: validate, plan the id, make repetition harmless, append.

Raises a `RequestError` for what the producer must correct, and `StoreUnavailable` if the change was not
accepted. It returns only after the store has made the change durable. The HTTP API and the inbox stream use
it.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from broker import failpoints
from broker.errors import Conflict, Issue, Malformed, MethodNotAllowed, RequestError, Unprocessable
from broker.fhir.identifiers import index_entries
from broker.fhir.references import conditional_references, patient_reference
from broker.ingest import patches
from broker.ingest.acceptance import MatchChanged, raise_if_refused
from broker.ingest.conditions import MAX_ATTEMPTS, Conditions, fingerprint_of
from broker.ingest.group import GroupCommit
from broker.ingest.requests import Admission, ChangeRequest
from broker.ingest.validator import REFUSING_SEVERITIES, Validator
from broker.matching.search_terms import IndexEntries
from broker.model.audit import NOBODY
from broker.model.json_text import LARGE_BYTES
from broker.model.precondition import VersionCondition
from broker.model.release import Release
from broker.model.resource import Resource, UnversionedResource
from broker.store import keys
from broker.store.audit_journal import AuditJournal
from broker.store.changes import Changes, SeveralPartitions
from broker.store.proposals import Acceptance, Accepted, Proposal
from broker.store.resources import Resources, assign_id
from broker.tasks import Slices
from broker.telemetry import current_request

_log = structlog.get_logger(__name__)
_NEVER = VersionCondition("0")
"""Versions count from 1: a proposal with this condition writes nothing, and only an earlier answer comes
back.
"""

Index = Callable[[Release, str, Resource], IndexEntries | None]
"""What a resource of a release and type is indexed by for searches; None where they do not find the type."""
References = Callable[[Release, str, Resource], tuple[tuple[str, str], ...]]
"""The references by which a resource of a release and type can be found: parameter, and the `Type/id` it
refers to.
"""


class Intake:
    """The only way in for changes.

    `conditions` resolves the criteria of conditional requests, `validator` decides which resources are
    accepted, `references` feeds the reference index, `index` that of searches. With `audit`, changes leave
    their entry in its trail. `written` is called after each change, before its answer.
    """

    def __init__(
        self,
        changes: Changes,
        resources: Resources,
        group: GroupCommit,
        conditions: Conditions,
        validator: Validator,
        references: References = lambda _release, _type, _resource: (),
        audit: AuditJournal | None = None,
        written: Callable[[ChangeRequest, Accepted], Awaitable[None]] | None = None,
        index: Index = lambda _release, _type, _resource: None,
    ) -> None:
        self._changes = changes
        self._resources = resources
        self._group = group
        self.conditions = conditions
        self._validator = validator
        self._references = references
        self._audit = audit
        self._written = written
        self._index = index

    async def admit(self, request: ChangeRequest) -> Admission:
        """Accepts one change.

        Requests without criteria and patch reach the store in the order in which `admit` was called.
        """
        if request.patch is not None:
            return await self._admit_patch(request)
        warnings = self.validate(request)
        if request.criteria is None:
            return await self._submit(request, warnings)
        for attempt in range(MAX_ATTEMPTS):
            resolved = await self.conditions.resolve(request, self.plan_id, attempt)
            if isinstance(resolved, Admission):
                return resolved._replace(warnings=warnings)
            with contextlib.suppress(MatchChanged):
                return await self._submit(resolved, warnings)
        raise keeps_changing(request)

    async def _admit_patch(self, request: ChangeRequest) -> Admission:
        for attempt in range(patches.MAX_ATTEMPTS):
            resolved = await self.resolve(request, self.plan_id, attempt)
            if isinstance(resolved, Admission):
                return resolved
            with contextlib.suppress(MatchChanged):
                return await self._submit(resolved, self.validate(resolved))
        raise keeps_changing(request)

    async def resolve(
        self, request: ChangeRequest, plan_id: Callable[[ChangeRequest], str], attempt: int
    ) -> ChangeRequest | Admission:
        """`Conditions.resolve`, but a patch that can't be applied because an earlier request under its
        idempotency key has applied it is answered as that request was.
        """
        try:
            resolved = await self.conditions.resolve(request, plan_id, attempt)
            if request.patch is not None and isinstance(resolved, ChangeRequest):
                self.validate(resolved)
        except RequestError:
            accepted = await self._earlier_answer(request)
            if accepted is None:
                raise
            return Admission(request, accepted, accepted.key.id)
        return resolved

    async def _earlier_answer(self, request: ChangeRequest) -> Accepted | None:
        """What a patch under the same idempotency key was answered; None without one."""
        if request.patch is None or not request.idempotency_key or not request.id:
            return None
        probe = request._replace(condition=_NEVER, fingerprint=fingerprint_of(request))
        accepted = (await self._group.submit([self.propose(probe)]))[0]
        return accepted if accepted.status is Acceptance.REPLAYED else None

    async def _submit(self, request: ChangeRequest, warnings: tuple[Issue, ...]) -> Admission:
        if request.warnings is not None and _is_large(request):
            proposal = await asyncio.to_thread(self.propose, request)
        else:
            proposal = self.propose(request)
        accepted = (await self._group.submit([proposal]))[0]
        if accepted.status is Acceptance.EXISTS:
            accepted = await self._repeated_create(proposal)
        raise_if_refused(request, accepted)
        if self._written is not None:
            await self._written(request, accepted)
        failpoints.hit("intake.before-answer")
        return Admission(request, accepted, stored=_stored(proposal, accepted), warnings=warnings)

    async def admit_together(self, requests: Sequence[ChangeRequest]) -> list[Admission]:
        """Accepts all changes of a transaction or none. The caller has resolved criteria and ids.

        Raises `MatchChanged` if what criteria named has changed meanwhile.
        """
        warnings, proposals, slices = [], [], Slices()
        for request in requests:
            warnings.append(self.validate(request))
            proposals.append(self.propose(request))
            await slices.pause()
        answers = await self._append_together(proposals) if proposals else []
        for n, (request, accepted) in enumerate(zip(requests, answers, strict=True)):
            if accepted.status is not Acceptance.UNTRIED:
                raise_if_refused(request, accepted, f"Bundle.entry[{n}]")
                if self._written is not None:
                    await self._written(request, accepted)
        admissions = []
        for request, proposal, accepted, issues in zip(requests, proposals, answers, warnings, strict=True):
            stored = _stored(proposal, accepted)
            admissions.append(Admission(request, accepted, stored=stored, warnings=issues))
            await slices.pause()
        return admissions

    async def _append_together(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        await self._group.reserve(len(proposals))
        try:
            return await self._changes.append_together(proposals)
        except SeveralPartitions as error:
            first, other = proposals[0], proposals[error.index]
            text = (
                f"{other.type}/{other.id} and {first.type}/{first.id} are in different partitions of "
                "a Cluster, which no transaction can span. Let the broker assign their ids (POST), or send "
                "a batch."
            )
            raise Unprocessable(Issue("not-supported", text, f"Bundle.entry[{error.index}]")) from None

    async def validate_aside(self, request: ChangeRequest) -> ChangeRequest:
        """The request, validated in a thread if its resource is large, so that others go on meanwhile.

        Then `admit` proposes it in a thread too. Requests that come after it may reach the store before it.
        Raises what `validate` raises.
        """
        if not _is_large(request):
            return request
        return request._replace(warnings=await asyncio.to_thread(self.validate, request))

    def validate(self, request: ChangeRequest) -> tuple[Issue, ...]:
        """The warnings of the request's resource.

        Raises `Malformed` or `Unprocessable`, with all issues of the resource.
        """
        if request.resource is None:
            return ()
        if request.warnings is not None:
            return request.warnings
        producer = request.requester.agent
        issues = tuple(self._validator.validate(request.release, request.type, request.resource, producer))
        if any(issue.severity in REFUSING_SEVERITIES for issue in issues):
            raise Unprocessable(*issues)
        if request.op == "put" and request.criteria is None:
            _check_id(request, request.resource)
        _refuse_conditional_references(request.resource)
        if issues:
            texts = [issue.text for issue in issues]
            _log.info("resource has warnings", type=request.type, id=request.id, warnings=texts)
        return issues

    def propose(self, request: ChangeRequest) -> Proposal:
        """The change for the store: id, placement, text, and what makes its repetition harmless.

        Raises `MethodNotAllowed` for an AuditEvent (decision 212).
        """
        if request.type == "AuditEvent":
            text = "AuditEvent is the audit trail of the broker, which no producer writes. Leave it out."
            raise MethodNotAllowed(Issue("not-supported", text))
        resource, resource_id = request.resource, request.id or self.plan_id(request)
        tail = b""
        tokens: tuple[str, ...] = ()
        references: tuple[tuple[str, str], ...] = ()
        entries: IndexEntries | None = None
        if resource is not None:
            tail = resource.without_version(type=request.type, id=resource_id).tail
            tokens = tuple(index_entries(resource))
            references = self._references(request.release, request.type, resource)
            entries = self._index(request.release, request.type, resource)
        requester = NOBODY
        if self._audit is not None and self._audit.is_on:
            requester = request.requester
            self._audit.note(request.tenant)
        patient = patient_reference(resource) if requester.agent and resource is not None else None
        return Proposal(
            tenant=request.tenant,
            op=request.op,
            type=request.type,
            id=resource_id,
            release=request.release,
            tail=tail,
            condition=request.condition,
            idempotency_key=request.idempotency_key,
            digest=fingerprint_of(request) if request.idempotency_key else "",
            identifiers=tokens,
            events=request.events,
            references=references,
            sets=() if entries is None else entries.sets,
            date=0 if entries is None else entries.date,
            trace=request.trace or current_request.traceparent(),
            requester=requester,
            patient=patient or "",
        )

    def plan_id(self, request: ChangeRequest, placement: int | None = None) -> str:
        """The id of a new resource, placed with its patient. The same idempotency key gives the same id."""
        seed = ""
        if request.idempotency_key:
            seed = f"{request.tenant}\n{request.type}\n{request.idempotency_key}"
        if placement is None:
            placement = self._plan_placement(request, seed)
        return assign_id(placement, seed)

    def _plan_placement(self, request: ChangeRequest, seed: str) -> int:
        """The placement of a new resource: that of its patient, else that of the seed, else a random one."""
        patient = patient_reference(request.resource) if request.resource is not None else None
        if patient:
            return keys.placement(request.tenant, patient.removeprefix("Patient/"))
        return keys.placement(request.tenant, seed) if seed else random.getrandbits(16)

    async def _repeated_create(self, proposal: Proposal) -> Accepted:
        """The planned id exists: an earlier attempt of the request created it, or it was deleted since."""
        current = await self._resources.current(proposal.tenant, proposal.type, proposal.id)
        if current is None or current.resource is None:
            return (await self._group.submit([msgspec.structs.replace(proposal, op="put")]))[0]
        return Accepted(Acceptance.REPLAYED, current.key, current.at_ms)


def _is_large(request: ChangeRequest) -> bool:
    return request.resource is not None and len(request.resource.text) >= LARGE_BYTES


def _stored(proposal: Proposal, accepted: Accepted) -> Resource | None:
    """The resource that was written; None if nothing was written."""
    if accepted.status not in {Acceptance.CREATED, Acceptance.UPDATED}:
        return None
    unversioned = UnversionedResource(proposal.type, proposal.id, proposal.tail)
    return unversioned.with_version(accepted.key.version, accepted.at_ms)


def _check_id(request: ChangeRequest, resource: Resource) -> None:
    """Raises `Malformed` unless the body of an update has the id of the URL (http.html#update)."""
    element = f"{request.type}.id"
    if not resource.id:
        raise Malformed(Issue("required", "an update needs the id of the URL in its body", element))
    if resource.id != request.id:
        text = f"the id in the body is {resource.id!r}, that in the URL is {request.id!r}"
        raise Malformed(Issue("invalid", text, element))


def keeps_changing(request: ChangeRequest) -> Conflict:
    """The refusal of a conditional request whose match changed at every attempt."""
    criteria = "" if request.criteria is None else request.criteria.text
    if request.criteria is None:
        text = f"{request.type}/{request.id} keeps changing. Retry the request."
    elif request.id:
        text = f"{request.type}/{request.id} exists and does not match {criteria}. Send another id, or none."
    else:
        text = f"The {request.type} resources that match {criteria} keep changing. Retry the request."
    return Conflict(Issue("conflict", text))


def _refuse_conditional_references(resource: Resource) -> None:
    """A search in a reference is resolved in a transaction; elsewhere it would refer to nothing."""
    unresolved = conditional_references(resource)
    if unresolved:
        raise Unprocessable(
            *(
                Issue(
                    "not-supported",
                    f"{reference.text!r} is a search. Send Type/id, or send the resource in a transaction.",
                    reference.element,
                )
                for reference in unresolved
            )
        )
