"""Registers, reads, lists and deletes Subscriptions on behalf of a principal.

A Subscription that is accepted was checked by `RegistrationRules`, is stored durably, and is due for its
handshake. A principal sees and changes its own Subscriptions; to an administrator all of the tenant are
visible. Those of others answer as if they did not exist.
"""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from broker.errors import Issue, NotFound, PreconditionFailed
from broker.fhir.identity import check_type
from broker.fhir.release import adapter
from broker.ingest.patches import MAX_ATTEMPTS, Patch, apply_patch
from broker.model.audit import NOBODY, Requester
from broker.model.change import Tenant
from broker.model.precondition import UNCONDITIONAL, VersionCondition
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription, SubscriptionId, SubscriptionStatus
from broker.security.key_ring import key_id_of
from broker.security.subscription_secrets import SubscriptionSecrets, has_masks
from broker.services.paging import Page, PageName
from broker.services.registration import RegistrationRules, check_size
from broker.services.subscription_pages import page_by_id
from broker.services.subscription_quota import SubscriptionQuota
from broker.services.subscription_refusals import (
    gone,
    keeps_changing,
    not_found,
    refuse_conflict,
    refuse_foreign,
)
from broker.store.audit_journal import AuditJournal
from broker.store.schedule import Schedule
from broker.store.sealing_keys import SealingKeys
from broker.store.subscription_ids import PAGE
from broker.store.subscriptions import ANY_OWNER, Record, Registration, Subscriptions

HANDSHAKE_DELAY_MS = 1_000
"""The handshake waits for `send_handshake`, which follows the response to the client, at most this long."""
_IDS_OF_KEYS = uuid.UUID("0c0dbb0e-58a4-5a0c-9d9a-5a6a1a6a7c01")


@dataclass(frozen=True, slots=True)
class Registered:
    """A Subscription as stored. `is_created` is False for an update; `is_new` False for a repeated create.

    `warnings` are for its author.
    """

    subscription: Subscription
    is_created: bool
    is_new: bool = True
    warnings: tuple[Issue, ...] = ()

    @property
    def awaits_handshake(self) -> bool:
        """Whether the caller calls `send_handshake` once the client has the response."""
        return self.is_new and self.subscription.status is SubscriptionStatus.REQUESTED


class SubscriptionService:
    """Subscriptions of the principal's tenant."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        schedule: Schedule,
        rules: RegistrationRules,
        secrets: SubscriptionSecrets,
        sealing_keys: SealingKeys,
        quota: SubscriptionQuota,
        audit: AuditJournal,
    ) -> None:
        self._subscriptions = subscriptions
        self._schedule = schedule
        self._rules = rules
        self._secrets = secrets
        self._sealing_keys = sealing_keys
        self._quota = quota
        self._audit = audit

    async def create(
        self,
        principal: Principal,
        release: Release,
        resource: Resource,
        idempotency_key: str = "",
        *,
        requester: Requester = NOBODY,
    ) -> Registered:
        """Stores a new Subscription; a repetition under the same key returns the one that the first call
        stored.

        Raises `Malformed` or `Unprocessable` with one issue for each problem, and `TooMany` where the
        principal or its tenant has too many.
        """
        name = f"{principal.tenant}/{idempotency_key}"
        subscription_id = str(uuid.uuid5(_IDS_OF_KEYS, name) if idempotency_key else uuid.uuid4())
        draft = self.draft(principal, release, resource, subscription_id)
        await self._quota.check(principal, subscription_id)
        concealed = self._secrets.conceal(draft, None)
        registration, version, at_ms = await self._put(concealed, create=True, requester=requester)
        if registration is Registration.EXISTS:
            record = await self.get(principal, subscription_id)
            return Registered(record.subscription, is_created=False, is_new=False)
        return self._registered(concealed, version, at_ms, is_created=True)

    async def update(
        self,
        principal: Principal,
        release: Release,
        subscription_id: str,
        resource: Resource,
        *,
        condition: VersionCondition = UNCONDITIONAL,
        requester: Requester = NOBODY,
    ) -> Registered:
        """Replaces the Subscription, or creates it under that id; the handshake runs again (R-160).

        Raises `PreconditionFailed` where the stored version does not meet `condition`, and what `create`
        raises.
        """
        draft = self.draft(principal, release, resource, subscription_id)
        await self._quota.check(principal, subscription_id)
        for _ in range(MAX_ATTEMPTS):
            stored = await self._source_of_masks(principal, draft)
            expected = condition
            if stored is not None and condition.is_met_by(stored.version):
                # the values come from this version: it must still be the stored one
                expected = VersionCondition(str(stored.version))
            concealed = self._secrets.conceal(draft, stored)
            registration, version, at_ms = await self._put(
                concealed,
                create=False,
                condition=expected,
                owners=_owners_of(principal),
                requester=requester,
            )
            refuse_foreign(registration, subscription_id)
            if registration is Registration.CONFLICT and expected is not condition:
                continue  # it has changed since
            refuse_conflict(registration, version, condition)
            is_created = registration is Registration.CREATED
            return self._registered(concealed, version, at_ms, is_created=is_created)
        raise keeps_changing(subscription_id)

    async def patch(
        self,
        principal: Principal,
        release: Release,
        subscription_id: str,
        patch: Patch,
        *,
        condition: VersionCondition = UNCONDITIONAL,
        requester: Requester = NOBODY,
    ) -> Registered:
        """Updates the Subscription by a patch of its form in the release; what others write meanwhile stays.

        It keeps the release in which it was registered, and so that of its notifications. Raises `NotFound`,
        what `update` raises, and `Malformed` or `Unprocessable` where the patch cannot be applied.
        """
        for _ in range(MAX_ATTEMPTS):
            subscription = (await self.get(principal, subscription_id)).subscription
            if not condition.is_met_by(subscription.version):
                text = condition.failure("The Subscription", subscription.version)
                raise PreconditionFailed(Issue("conflict", text))
            resource = apply_patch(patch, adapter(release).render_subscription(subscription), release)
            if release is not subscription.release:
                draft = self.draft(principal, release, resource, subscription_id)
                resource = adapter(subscription.release).render_subscription(draft)
            try:
                return await self.update(
                    principal,
                    subscription.release,
                    subscription_id,
                    resource,
                    condition=VersionCondition(str(subscription.version)),
                    requester=requester,
                )
            except PreconditionFailed:  # it has changed since
                continue
        raise keeps_changing(subscription_id)

    def draft(
        self, principal: Principal, release: Release, resource: Resource, subscription_id: str
    ) -> Subscription:
        """The Subscription as it would be accepted, owned by the principal, with the values of its headers;
        nothing is stored.

        Raises `Malformed` or `Unprocessable` with one issue for each problem, `Forbidden` where it exposes
        what the principal may not read, and `TooLarge`.
        """
        check_type(resource, "Subscription")
        check_size(resource)
        parsed = adapter(release).parse_subscription(resource, tenant=principal.tenant, id=subscription_id)
        return self._rules.accept(parsed.changed(owner=principal.client_id), principal)

    def _registered(self, draft: Subscription, version: int, at_ms: int, *, is_created: bool) -> Registered:
        stored = draft.changed(version=version, updated_ms=at_ms)
        return Registered(stored, is_created=is_created, warnings=self._rules.registration_warnings(stored))

    async def _put(
        self,
        draft: Subscription,
        *,
        create: bool,
        condition: VersionCondition = UNCONDITIONAL,
        owners: str = ANY_OWNER,
        requester: Requester,
    ) -> tuple[Registration, int, int]:
        if draft.sealed_headers:
            await self._sealing_keys.record(key_id_of(draft.sealed_headers))
        return await self._subscriptions.put(
            draft,
            create=create,
            condition=condition,
            only_owner=owners,
            handshake_in_ms=HANDSHAKE_DELAY_MS,
            is_pushed=self._rules.channel_of(draft).is_pushed,
            requester=self.audited(draft.tenant, requester),
        )

    def audited(self, tenant: Tenant, requester: Requester) -> Requester:
        """Whom the audit trail names: the entry is written with the Subscription."""
        if not self._audit.is_on:
            return NOBODY
        self._audit.note(tenant)
        return requester

    async def _source_of_masks(self, principal: Principal, draft: Subscription) -> Subscription | None:
        """The stored Subscription whose values the masks of the draft stand for; None without masks."""
        record = await self._find(principal, draft.id) if has_masks(draft) else None
        return record.subscription if record is not None else None

    async def send_handshake(self, subscription: Subscription) -> None:
        """Makes the handshake due now, instead of after the delay that lets the response go first."""
        await self._schedule.wake(subscription.tenant, subscription.id)

    async def get(self, principal: Principal, subscription_id: str) -> Record:
        """The Subscription with its delivery state; raises `NotFound`, or `Gone` where it was deleted."""
        record = await self._find(principal, subscription_id)
        if record is not None:
            return record
        if await self._deleted_version(principal, subscription_id) is not None:
            raise gone(subscription_id)
        raise not_found(subscription_id)

    async def get_version(self, principal: Principal, subscription_id: str, number: str) -> Record:
        """The Subscription at that version, which must be the current one: no other is stored.

        Raises `NotFound`, or `Gone` for the version that its deletion was.
        """
        record = await self._find(principal, subscription_id)
        if record is not None and str(record.subscription.version) == number:
            return record
        if record is not None:
            text = (
                "Only the current version of a Subscription is stored: "
                f"version {record.subscription.version}. Read the Subscription without _history."
            )
            raise NotFound(Issue("not-found", text))
        deleted_version = await self._deleted_version(principal, subscription_id)
        if deleted_version is None:
            raise not_found(subscription_id)
        if str(deleted_version) == number:
            raise gone(subscription_id)
        text = f"Subscription/{subscription_id} was deleted, and its versions with it. Register it again."
        raise NotFound(Issue("not-found", text))

    async def _find(self, principal: Principal, subscription_id: str) -> Record | None:
        """None for one that does not exist, or is not visible."""
        record = await self._subscriptions.get(principal.tenant, SubscriptionId(subscription_id))
        is_visible = record is not None and principal.may_see_those_of(record.subscription.owner)
        return record if is_visible else None

    async def _deleted_version(self, principal: Principal, subscription_id: str) -> int | None:
        deletion = await self._subscriptions.deletion(principal.tenant, SubscriptionId(subscription_id))
        if deletion is None or not principal.may_see_those_of(deletion.owner):
            return None
        return deletion.version

    async def many(self, principal: Principal, subscription_ids: Iterable[str]) -> AsyncIterator[Record]:
        """Those of the ids that exist and are visible, ordered by id."""
        wanted = [(principal.tenant, SubscriptionId(each)) for each in sorted(set(subscription_ids))]
        for start in range(0, len(wanted), PAGE):
            for record in await self._subscriptions.many(wanted[start : start + PAGE]):
                if record is not None and principal.may_see_those_of(record.subscription.owner):
                    yield record

    async def all(
        self, principal: Principal, stored_texts: Sequence[Sequence[str]] = ()
    ) -> AsyncIterator[Record]:
        """Every visible Subscription; those without the texts of a search are left out where the store can
        show (`Search.stored_texts`).
        """
        async for record in self._subscriptions.of_tenant(principal.tenant, stored_texts):
            if principal.may_see_those_of(record.subscription.owner):
                yield record

    async def with_statuses(
        self, principal: Principal, statuses: Iterable[SubscriptionStatus]
    ) -> AsyncIterator[Record]:
        """The visible ones with one of the statuses, read from their index."""
        for status in sorted(set(statuses)):
            async for record in self._subscriptions.with_status(principal.tenant, status):
                if principal.may_see_those_of(record.subscription.owner):
                    yield record

    async def page(self, principal: Principal, name: PageName, count: int) -> tuple[Page[Subscription], int]:
        """For administrators: the named page of the tenant's Subscriptions by id, and how many there are."""
        return await page_by_id(self._subscriptions, principal.tenant, name, count)

    async def delete(
        self,
        principal: Principal,
        subscription_id: str,
        *,
        condition: VersionCondition = UNCONDITIONAL,
        requester: Requester = NOBODY,
    ) -> None:
        """Deletes the Subscription with its outbox and ends its retries (R-158).

        Repeating it does nothing. Raises `NotFound` for one that never was, and `PreconditionFailed` where
        the stored version does not meet `condition`.
        """
        registration, version, _ = await self._subscriptions.delete(
            principal.tenant,
            SubscriptionId(subscription_id),
            condition=condition,
            only_owner=_owners_of(principal),
            requester=self.audited(principal.tenant, requester),
        )
        refuse_foreign(registration, subscription_id)
        refuse_conflict(registration, version, condition)
        is_absent = registration is Registration.ABSENT
        if is_absent and await self._deleted_version(principal, subscription_id) is None:
            raise not_found(subscription_id)


def _owners_of(principal: Principal) -> str:
    """Whose Subscriptions the principal may change."""
    return ANY_OWNER if principal.is_admin else principal.client_id
