"""Conditional requests for Subscriptions: the request names its Subscription by criteria.

An application may so register at each start and have one Subscription. Concurrent requests with the same
criteria, in whatever process, create one.
"""

import uuid

from broker.errors import Conflict, Issue, Malformed, NotFound, PreconditionFailed
from broker.ingest.patches import Patch
from broker.model.audit import NOBODY, Requester
from broker.model.precondition import MUST_NOT_EXIST, UNCONDITIONAL, VersionCondition
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.services.search_criteria import SearchCriteria
from broker.services.subscriptions import Registered, SubscriptionService
from broker.store.id_claims import IdClaims

_TYPE = "Subscription"
_MAX_ATTEMPTS = 5
Criteria = SearchCriteria[Subscription]


class ConditionalSubscriptions:
    """Subscriptions of the principal's tenant by criteria."""

    def __init__(self, subscriptions: SubscriptionService, claims: IdClaims) -> None:
        self._subscriptions = subscriptions
        self._claims = claims

    async def create(
        self,
        principal: Principal,
        release: Release,
        resource: Resource,
        criteria: Criteria,
        *,
        requester: Requester = NOBODY,
    ) -> Registered:
        """The match as it is, or else a new Subscription. Raises what `SubscriptionService.create` raises."""
        return await self._write(
            principal, release, resource, criteria, UNCONDITIONAL, requester, is_update=False
        )

    async def update(
        self,
        principal: Principal,
        release: Release,
        resource: Resource,
        criteria: Criteria,
        condition: VersionCondition,
        *,
        requester: Requester = NOBODY,
    ) -> Registered:
        """Replaces the match, or creates a Subscription if there is none."""
        return await self._write(principal, release, resource, criteria, condition, requester, is_update=True)

    async def patch(
        self,
        principal: Principal,
        release: Release,
        patch: Patch,
        criteria: Criteria,
        condition: VersionCondition,
        *,
        requester: Requester = NOBODY,
    ) -> Registered:
        """Patches the match; raises `NotFound` if there is none."""
        for _ in range(_MAX_ATTEMPTS):
            match = await self._match(principal, criteria, condition)
            if match is None:
                text = f"No {_TYPE} matches {criteria.text}. A patch needs a stored resource."
                raise NotFound(Issue("not-found", text))
            try:
                return await self._subscriptions.patch(
                    principal,
                    release,
                    match.id,
                    patch,
                    condition=VersionCondition(str(match.version)),
                    requester=requester,
                )
            except PreconditionFailed:  # it has changed since: it may not match any more
                continue
        raise _keeps_changing(criteria)

    async def delete(
        self,
        principal: Principal,
        criteria: Criteria,
        condition: VersionCondition,
        *,
        requester: Requester = NOBODY,
    ) -> None:
        """Deletes the match, if there is one."""
        for _ in range(_MAX_ATTEMPTS):
            match = await self._match(principal, criteria, condition)
            if match is None:
                return
            try:
                await self._subscriptions.delete(
                    principal,
                    match.id,
                    condition=VersionCondition(str(match.version)),
                    requester=requester,
                )
            except PreconditionFailed:  # it has changed since: it may not match any more
                continue
            return
        raise _keeps_changing(criteria)

    async def _write(
        self,
        principal: Principal,
        release: Release,
        resource: Resource,
        criteria: Criteria,
        condition: VersionCondition,
        requester: Requester,
        *,
        is_update: bool,
    ) -> Registered:
        self._subscriptions.draft(principal, release, resource, resource.id or str(uuid.uuid4()))
        for attempt in range(_MAX_ATTEMPTS):
            match = await self._match(principal, criteria, condition)
            if match is not None and not is_update:
                return Registered(match, is_created=False, is_new=False)
            body_id = resource.id if is_update else ""
            if match is not None and body_id not in {"", match.id}:
                text = (
                    f"{criteria.text} matches {_TYPE}/{match.id}, the body has id {body_id!r}. Send one id."
                )
                raise Malformed(Issue("invalid", text, f"{_TYPE}.id"))
            if match is not None:
                target, expected = str(match.id), VersionCondition(str(match.version))
            else:
                names = [f"{principal.client_id} {attempt} {criteria.text}"]
                target = body_id or await self._claims.claim(
                    principal.tenant, _TYPE, names, str(uuid.uuid4())
                )
                expected = MUST_NOT_EXIST
            try:
                return await self._subscriptions.update(
                    principal, release, target, resource, condition=expected, requester=requester
                )
            except PreconditionFailed:  # it was created or changed since
                continue
        raise _keeps_changing(criteria)

    async def _match(
        self, principal: Principal, criteria: Criteria, condition: VersionCondition
    ) -> Subscription | None:
        matches = [
            record.subscription
            async for record in self._subscriptions.all(principal, criteria.search.stored_texts)
            if criteria.search.passes(record.subscription)
        ]
        match = criteria.single(matches, _TYPE)
        if not condition.is_met_by(None if match is None else match.version):
            version = 0 if match is None else match.version
            text = condition.failure(f"The {_TYPE} that matches {criteria.text}", version)
            raise PreconditionFailed(Issue("conflict", text))
        return match


def _keeps_changing(criteria: Criteria) -> Conflict:
    text = f"The {_TYPE} that matches {criteria.text} keeps changing, or its id is taken. Retry the request."
    return Conflict(Issue("conflict", text))
