"""Resolves the criteria and the patch of a request: which resource it is about, and what remains to do.

A resolved request carries a condition on the version that was seen, so the store refuses it if the match has
changed meanwhile; intake then resolves it again. Concurrent requests that match nothing agree on one id. So
of several conditional creates for one resource, in whatever process, one creates it.
"""

import hashlib
from collections.abc import Callable

from broker.errors import Issue, Malformed, NotFound, PreconditionFailed
from broker.fhir.criteria import Criteria
from broker.fhir.stored_versions import resource_in
from broker.ingest.patches import apply_patch
from broker.ingest.requests import Admission, ChangeRequest
from broker.model.change import Tenant, Version
from broker.model.precondition import MUST_NOT_EXIST, VersionCondition
from broker.store.id_claims import IdClaims
from broker.store.resources import Resources

MAX_ATTEMPTS = 5
"""How often a request is resolved while the resources that it names keep changing."""
_MAX_CANDIDATES = 100


class Conditions:
    """The criteria of requests, against the resources of one store."""

    def __init__(self, resources: Resources, claims: IdClaims) -> None:
        self._resources = resources
        self._claims = claims

    async def match(self, tenant: Tenant, resource_type: str, criteria: Criteria) -> Version | None:
        """The current version of the one resource that meets the criteria, None without one.

        Raises `PreconditionFailed` for several.
        """
        candidates: set[str] | None = None
        for alternatives in criteria.identifiers:
            prefixes = [token.index_prefix for token in alternatives]
            ids = await self._resources.find(tenant, resource_type, prefixes, limit=_MAX_CANDIDATES)
            if len(ids) >= _MAX_CANDIDATES:
                raise _several(resource_type, criteria, f"At least {len(ids)}")
            candidates = ids if candidates is None else candidates & ids
        for wanted in criteria.ids:
            candidates = set(wanted) if candidates is None else candidates & wanted
        targets = [(resource_type, resource_id) for resource_id in candidates or ()]
        versions = await self._resources.current_many(tenant, targets)
        matches = [
            version
            for version in versions.values()
            if version.resource is not None and criteria.is_met_by(version.key.id, version.resource)
        ]
        if len(matches) > 1:
            raise _several(resource_type, criteria, str(len(matches)))
        return matches[0] if matches else None

    async def resolve(
        self, request: ChangeRequest, plan_id: Callable[[ChangeRequest], str], attempt: int
    ) -> ChangeRequest | Admission:
        """The request about the resource that its criteria name; an `Admission` if nothing is to be written.

        `plan_id` gives the id of a new resource. `attempt` counts from 0. Raises `PreconditionFailed` for
        several matches or an unmet version condition, `Malformed` for a body with another id than the match,
        and what `_patched` raises.
        """
        if request.patch is not None:
            return await self._patched(request)
        if request.criteria is None:
            return request
        current = await self.match(request.tenant, request.type, request.criteria)
        fingerprint = fingerprint_of(request)
        if current is None:
            if request.condition.if_match:
                text = (
                    f"If-Match is not met: no {request.type} matches {request.criteria.text}. Leave it out."
                )
                raise PreconditionFailed(Issue("conflict", text))
            if request.op == "delete":
                return Admission(request, None)
            resource_id = request.id or await self._new_id(request, plan_id(request), attempt)
            return request._replace(
                op="put", id=resource_id, condition=MUST_NOT_EXIST, fingerprint=fingerprint
            )
        if request.op == "create":
            return Admission(request, None, current.key.id)
        version = _required_version(request, current)
        if request.id not in {"", current.key.id}:
            text = (
                f"{request.criteria.text} matches {current.key.reference}, but the body has the id "
                f"{request.id!r}. Send that of the match, or none."
            )
            raise Malformed(Issue("invalid", text, f"{request.type}.id"))
        return request._replace(
            id=current.key.id, condition=VersionCondition(str(version)), fingerprint=fingerprint
        )

    async def _patched(self, request: ChangeRequest) -> ChangeRequest:
        """The update that the patch makes of the current version.

        Raises `NotFound` or `Gone` where there is none, `NotAcceptable` where the base cannot show it, and
        `Malformed` or `Unprocessable` where the patch cannot be applied.
        """
        if request.criteria is not None:
            current = await self.match(request.tenant, request.type, request.criteria)
            name = f"A {request.type} that matches {request.criteria.text}"
        else:
            current = await self._resources.current(request.tenant, request.type, request.id)
            name = f"{request.type}/{request.id}"
        if current is None or request.patch is None:
            raise NotFound(Issue("not-found", f"{name} does not exist. A patch needs a stored resource."))
        stored = resource_in(current, request.release)
        version = _required_version(request, current)
        return request._replace(
            id=current.key.id,
            resource=apply_patch(request.patch, stored, request.release),
            condition=VersionCondition(str(version)),
            fingerprint=fingerprint_of(request),
        )

    async def _new_id(self, request: ChangeRequest, planned_id: str, attempt: int) -> str:
        """The id that all concurrent requests with the same criteria use.

        A later attempt means that the id agreed on before belongs to a resource that does not match.
        """
        names = [f"{attempt} {name}" for name in request.criteria.names] if request.criteria else []
        return await self._claims.claim(request.tenant, request.type, names, planned_id)


def fingerprint_of(request: ChangeRequest) -> str:
    """Distinguishes requests with the same idempotency key."""
    if request.fingerprint:
        return request.fingerprint
    target = "" if request.op == "create" else request.id
    if request.criteria is not None:
        target += f"?{request.criteria.text}"
    interaction = f"{request.op} {request.type}/{target} {' / '.join(request.condition)}\n"
    events = "".join(f"{coding.system}|{coding.code}\n" for coding in request.events)
    content = request.resource if request.patch is None else request.patch
    text = b"" if content is None else content.text
    return hashlib.sha256((interaction + events).encode() + text).hexdigest()[:32]


def _required_version(request: ChangeRequest, current: Version) -> int:
    """The version of the match; raises `PreconditionFailed` unless it meets the condition of the request."""
    version = current.key.version
    if not request.condition.is_met_by(version):
        text = request.condition.failure(current.key.reference, version)
        raise PreconditionFailed(Issue("conflict", text))
    return version


def _several(resource_type: str, criteria: Criteria, count: str) -> PreconditionFailed:
    text = (
        f"{count} {resource_type} resources match {criteria.text}. Send criteria that only one of them meets."
    )
    return PreconditionFailed(Issue("multiple-matches", text))
