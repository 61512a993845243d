"""Subscription documents and their delivery state. `registry.py` has the log of their changes."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from secrets import token_hex
from typing import NamedTuple

import msgspec

from broker import failpoints
from broker.model.audit import NOBODY, Requester
from broker.model.change import Tenant
from broker.model.eligibility import Activation
from broker.model.gap import Gap, GapReason
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.precondition import UNCONDITIONAL, VersionCondition
from broker.model.subscription import (
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionKey,
    SubscriptionStatus,
)
from broker.store import keys
from broker.store.gaps import GapReporter, gaps_of
from broker.store.listed_ids import ListedIds, with_status
from broker.store.owner_counts import Owned, read_owned
from broker.store.protocol import Command, Store
from broker.store.records import RegistrationRequest
from broker.store.scripts import outbox, subscriptions
from broker.store.subscription_ids import SubscriptionIds
from broker.store.write_group import WriteGroup
from broker.tasks import Slices

KEEP_DELETED_MS = 7 * 86_400_000
"""How long it is known that a subscription was deleted, unless the caller says otherwise."""
ANY_OWNER = ""
_FIELDS = (
    "model",
    "signing_secrets",
    "owner",
    "version",
    "updated",
    "status",
    "activated",
    "count",
    "cursor",
    "error_code",
    "error_text",
    "attempts",
    "revision",
    "dead_letters",
    "gaps",
    "gap_since",
)
_ERROR_TEXT = _FIELDS.index("error_text")
_STATUSES = {status.encode(): status for status in SubscriptionStatus}
encode_model = msgspec.msgpack.Encoder().encode
"""The field `model` of a subscription; status, version and owner are fields of their own."""
decode_model = msgspec.msgpack.Decoder(Subscription).decode


class Registration(StrEnum):
    """What became of a create, put or delete. `FOREIGN`: nothing, since it has another owner."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    REPLAYED = "replayed"
    EXISTS = "exists"
    ABSENT = "absent"
    CONFLICT = "conflict"
    FOREIGN = "foreign"


class Deletion(NamedTuple):
    """The version that a deletion was, and whose the subscription was ('' if that is not known)."""

    version: int
    owner: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """A subscription and where its delivery stands.

    `subscription.status` is the live one; `activated_ms` the moment of the first activation since it was
    created or off, or 0. `revision` names this document among all that were ever stored under the id.
    `signing_secrets` are the sealed secrets that sign its notifications, b'' for none.
    `dead_letters` counts its events that are dead letters. `gaps` are numbers that no notification will
    carry, the newest last; `open_gaps` those since the client last stored the document.
    """

    subscription: Subscription
    count: int
    cursor: int
    activated_ms: int
    error: ErrorReport | None
    attempts: int
    revision: str
    signing_secrets: bytes = b""
    dead_letters: int = 0
    gaps: tuple[Gap, ...] = ()
    open_gaps: tuple[Gap, ...] = ()

    @property
    def errors(self) -> tuple[ErrorReport, ...]:
        """What `$status` reports: why delivery last failed, gaps, and dead letters."""
        reports = [self.error] if self.error else []
        reports += [ErrorReport(None, gap.text) for gap in self.open_gaps]
        if self.dead_letters:
            events = "1 event" if self.dead_letters == 1 else f"{self.dead_letters} events"
            text = f"{events} could not be rendered and wait among the operator's dead letters"
            reports.append(ErrorReport(None, text))
        return tuple(reports)

    @property
    def activation(self) -> Activation:
        """What decides whether matching changes get a number."""
        return Activation(self.subscription.status, self.activated_ms)


def _record_of(values: Sequence[bytes | None]) -> Record | None:
    """A record from the hash fields `_FIELDS`; None where there is no subscription."""
    if values[0] is None:
        return None
    present = [value or b"" for value in values]
    model, signing_secrets, owner, version, updated, status, activated, count, cursor = present[:9]
    error_code, error_text, attempts, revision, dead_letters, gaps_text, gap_since = present[9:]
    error = None
    if values[_ERROR_TEXT] is not None:
        code = DeliveryError(error_code.decode()) if error_code else None
        error = ErrorReport(code, error_text.decode())
    gaps = gaps_of(gaps_text.decode()) if gaps_text else ()
    open_gaps = tuple(gap for gap in gaps if gap.at_ms >= int(gap_since)) if gap_since else ()
    texts = [error.text] if error else [gap.text for gap in open_gaps]
    subscription = decode_model(model).changed(
        owner=owner.decode(),
        version=int(version),
        updated_ms=int(updated),
        status=_STATUSES[status],
        error=texts[0] if texts else None,
    )
    return Record(
        subscription,
        count=int(count),
        cursor=int(cursor),
        activated_ms=int(activated or 0),
        error=error,
        attempts=int(attempts or 0),
        revision=revision.decode(),
        signing_secrets=signing_secrets,
        dead_letters=int(dead_letters or 0),
        gaps=gaps,
        open_gaps=open_gaps,
    )


def _contains(model: bytes | None, texts: Sequence[Sequence[bytes]]) -> bool:
    return model is not None and all(any(text in model for text in group) for group in texts)


class Subscriptions:
    """Registers, reads and lists."""

    def __init__(self, store: Store, *, keep_deleted_ms: int = KEEP_DELETED_MS) -> None:
        self._store = store
        self._keep_deleted_ms = keep_deleted_ms
        self.ids = SubscriptionIds(store)
        self.listed = ListedIds(store)
        self._group = WriteGroup(store)
        self._gaps = GapReporter()

    def shard_of(self, tenant: Tenant, subscription_id: SubscriptionId) -> int:
        return self._store.layout.shard_of(tenant, subscription_id)

    async def owned(self, tenant: Tenant, owner: str) -> Owned:
        """How many there are of a client, and of its tenant."""
        return await read_owned(self._store, tenant, owner)

    async def put(
        self,
        subscription: Subscription,
        *,
        create: bool,
        condition: VersionCondition = UNCONDITIONAL,
        only_owner: str = ANY_OWNER,
        new_owner: str = "",
        handshake_in_ms: int = 0,
        is_pushed: bool = True,
        requester: Requester = NOBODY,
    ) -> tuple[Registration, int, int]:
        """Stores the document with its status; returns what happened, the version, and the moment.

        A `requested` subscription becomes due for its handshake after `handshake_in_ms`: send the response
        first, then call `Schedule.wake`. Without `is_pushed` its subscriber reads the outbox, and no
        dispatcher claims it. The owner of a subscription is set when it is created; an update keeps it unless
        there is a `new_owner`, and is refused if the stored one is not of `only_owner`. The audit trail names
        the `requester`.
        """
        channel = subscription.channel
        request = RegistrationRequest(
            op="create" if create else "put",
            tenant=subscription.tenant,
            id=subscription.id,
            request_id=token_hex(16),
            if_match=condition.if_match,
            if_none_match=condition.if_none_match,
            only_owner=only_owner,
            new_owner=new_owner,
            status=subscription.status,
            owner=subscription.owner,
            max_count=channel.max_count or 1,
            heartbeat_ms=(channel.heartbeat_s or 0) * 1000,
            ends=subscription.end_ms or 0,
            handshake_in_ms=handshake_in_ms,
            carries_resources=channel.content is PayloadContent.FULL_RESOURCE,
            is_pull=not is_pushed,
        )
        return await self._register(request, encode_model(subscription), requester)

    async def delete(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        *,
        condition: VersionCondition = UNCONDITIONAL,
        only_owner: str = ANY_OWNER,
        requester: Requester = NOBODY,
    ) -> tuple[Registration, int, int]:
        """Removes it at once, with its outbox and all that waits to be retried (R-158). Only the version of
        the deletion and the owner are kept for a while.
        """
        request = RegistrationRequest(
            op="delete",
            tenant=tenant,
            id=subscription_id,
            request_id=token_hex(16),
            if_match=condition.if_match,
            if_none_match=condition.if_none_match,
            only_owner=only_owner,
            keep_deleted_ms=self._keep_deleted_ms,
        )
        return await self._register(request, b"", requester)

    async def deletion(self, tenant: Tenant, subscription_id: SubscriptionId) -> Deletion | None:
        """The deletion of the subscription; None if it is not known to be deleted."""
        shard = self.shard_of(tenant, subscription_id)
        key = keys.deleted_subscription(shard, tenant, subscription_id)
        (stored,) = await self._store.send([("GET", key)])
        if stored is None:
            return None
        version, _, owner = stored.decode().partition(" ")
        return Deletion(int(version), owner)

    async def _register(
        self, request: RegistrationRequest, model: bytes, requester: Requester
    ) -> tuple[Registration, int, int]:
        reply = await subscriptions.register_subscription(self._store, self._group, request, model, requester)
        failpoints.hit("registration.stored")
        return Registration(reply.status), reply.version, reply.at_ms

    async def expect_reader(self, tenant: Tenant, subscription_id: SubscriptionId, ms: int) -> None:
        """Records that an open connection reads the events of the subscription for `ms`: wakeups name it."""
        await outbox.expect_reader(self._store, (tenant, subscription_id), ms)

    async def advance(self, tenant: Tenant, subscription_id: SubscriptionId, number: int) -> None:
        """Records that the reader of a pull subscription received events up to `number`."""
        await outbox.advance_reader(self._store, (tenant, subscription_id), number)

    async def get(self, tenant: Tenant, subscription_id: SubscriptionId) -> Record | None:
        return (await self.many([(tenant, subscription_id)]))[0]

    async def many(self, wanted: Sequence[SubscriptionKey]) -> list[Record | None]:
        """Records in the order of `wanted`, None where there is none; one round trip."""
        return [_record_of(values) for values in await self._store.send(self._reads(wanted))]

    def _reads(self, wanted: Sequence[SubscriptionKey]) -> list[Command]:
        return [("HMGET", keys.subscription(self.shard_of(*key), *key), *_FIELDS) for key in wanted]

    async def fail(self, record: Record, reason: str) -> bool:
        """Sets it to `error`; False if it was stored again meanwhile, or is not active or requested."""
        key: SubscriptionKey = (record.subscription.tenant, record.subscription.id)
        return await subscriptions.mark_error(self._store, key, record.revision, reason)

    async def end_access(self, key: SubscriptionKey, revision: str, reason: str) -> bool:
        """Turns it `off` because its owner may not see what it sends, and gives up the events that wait.

        False if it was stored again meanwhile, or was off already.
        """
        has_ended, gap = await subscriptions.end_access(self._store, key, revision, reason)
        if gap is not None:
            self._gaps.report(key, *gap, GapReason.ACCESS)
        return has_ended

    async def of_tenant(self, tenant: Tenant, texts: Sequence[Sequence[str]] = ()) -> AsyncIterator[Record]:
        """Every subscription of a tenant, by id within each shard; of those only the ones whose stored values
        contain a text of each group, as they are.

        It runs in slices, with what the caller does with each, and rests between them: with very many
        subscriptions, others go on meanwhile.
        """
        wanted, slices = [[text.encode() for text in group] for group in texts], Slices.in_background()
        for shard in range(self._store.layout.shards):
            async for page in self.ids.in_shard(shard, [tenant]):
                for values in await self._store.send(self._reads(page)):
                    if _contains(values[0], wanted):
                        record = _record_of(values)
                        if record is not None:
                            yield record
                    await slices.pause()

    async def with_status(self, tenant: Tenant, status: SubscriptionStatus) -> AsyncIterator[Record]:
        """Every subscription of a tenant with that status, by id, in slices as `of_tenant`."""
        slices = Slices.in_background()
        async for page in self.listed.pages(tenant, with_status(status)):
            for record in await self.many([(tenant, subscription_id) for subscription_id in page]):
                if record is not None and record.subscription.status is status:
                    yield record
                await slices.pause()

    async def of_all_tenants(self) -> AsyncIterator[Record]:
        """Every subscription, tenant by tenant."""
        for tenant in await self.tenants():
            async for record in self.of_tenant(tenant):
                yield record

    async def tenants(self) -> list[Tenant]:
        """The tenants that have subscriptions."""
        shards = range(self._store.layout.shards)
        replies = await self._store.send([("SMEMBERS", keys.tenants(shard)) for shard in shards])
        return sorted({Tenant(tenant.decode()) for tenants in replies for tenant in tenants})

    async def in_shard(self, shard: int) -> list[SubscriptionKey]:
        """The subscriptions of all tenants in a shard."""
        return [key async for page in self.ids.in_shard(shard) for key in page]
