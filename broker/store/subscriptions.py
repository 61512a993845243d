"""Subscription documents, their delivery state, and the registry log by which matchers follow them."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import msgspec

from broker import failpoints
from broker.model.change import Tenant
from broker.model.eligibility import Activation
from broker.model.gap import Gap
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.subscription import PayloadContent, Subscription, SubscriptionId, SubscriptionStatus
from broker.store import keys
from broker.store.gaps import gaps_of
from broker.store.outbox import SubscriptionKey, key_of
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.stream_id import StreamId

_FIELDS = ("model", "v", "upd", "st", "on", "count", "cursor", "ec", "et", "tries", "q", "dead", "gaps", "gt")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Subscription).decode


class Registration(StrEnum):
    """What became of a create, put or delete."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    REPLAYED = "replayed"
    EXISTS = "exists"
    ABSENT = "absent"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Record:
    """A subscription and where its delivery stands.

    `subscription.status` is the live one; `activated_ms` the time of its first activation since it was created or off, or 0.
    `revision` names this document among all that were ever put under the id. `dead` counts the events that were set aside.
    `gaps` are the numbers no notification will carry any more, the newest last; `unanswered` those since the client last put it.
    """

    subscription: Subscription
    count: int
    cursor: int
    activated_ms: int
    error: ErrorReport | None
    attempts: int
    revision: str
    dead: int = 0
    gaps: tuple[Gap, ...] = ()
    unanswered: tuple[Gap, ...] = ()

    @property
    def errors(self) -> tuple[ErrorReport, ...]:
        """What its status tells: why delivery last failed, what is missing, and that events wait for the operator."""
        reports = [self.error] if self.error else []
        reports += [ErrorReport(None, gap.text) for gap in self.unanswered]
        if self.dead:
            events = "1 event" if self.dead == 1 else f"{self.dead} events"
            text = f"{events} could not be rendered and wait among the operator's dead letters"
            reports.append(ErrorReport(None, text))
        return tuple(reports)

    @property
    def activation(self) -> Activation:
        """What decides whether matching changes get a number."""
        return Activation(self.subscription.status, self.activated_ms)


def record_of(values: Sequence[bytes | None]) -> Record | None:
    """A record from the hash fields `_FIELDS`."""
    model, version, updated, status, on, count, cursor, code, text, tries, revision, dead, gaps, gap_ms = (
        values
    )
    if model is None or version is None or updated is None or status is None or revision is None:
        return None
    error = (
        None if text is None else ErrorReport(DeliveryError(code.decode()) if code else None, text.decode())
    )
    missing = gaps_of(gaps)
    unanswered = tuple(gap for gap in missing if gap.at_ms >= int(gap_ms)) if gap_ms else ()
    told = [error.text] if error else [gap.text for gap in unanswered]
    subscription = replace(
        _decode(model),
        version=int(version),
        updated_ms=int(updated),
        status=SubscriptionStatus(status.decode()),
        error=told[0] if told else None,
    )
    return Record(
        subscription,
        int(count or 0),
        int(cursor or 0),
        int(on or 0),
        error,
        int(tries or 0),
        revision.decode(),
        int(dead or 0),
        missing,
        unanswered,
    )


class Subscriptions:
    """Registers, reads and lists."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def shard_of(self, tenant: Tenant, subscription_id: SubscriptionId) -> int:
        return self._store.layout.shard_of(tenant, subscription_id)

    async def put(
        self,
        subscription: Subscription,
        *,
        create: bool,
        expected_version: str = "",
        handshake_in_ms: int = 0,
        is_pushed: bool = True,
    ) -> tuple[Registration, int, int]:
        """Stores the document with its status; answers what happened, the version, and the time.

        A `requested` subscription becomes due for its handshake after `handshake_in_ms`: give the response a head start and
        then call `Schedule.wake`. Without `is_pushed` its subscriber reads the outbox and no dispatcher ever looks at it.
        """
        channel = subscription.channel
        arguments: list[Argument] = [
            "create" if create else "put",
            keys.member(subscription.tenant, subscription.id),
            uuid.uuid4().hex,
            expected_version,
            _encode(subscription),
            subscription.status,
            channel.max_count or 1,
            (channel.heartbeat_s or 0) * 1000,
            subscription.end_ms or 0,
            int(channel.content is PayloadContent.FULL_RESOURCE),
            handshake_in_ms,
            int(not is_pushed),
        ]
        return await self._register(subscription.tenant, subscription.id, arguments)

    async def advance(self, tenant: Tenant, subscription_id: SubscriptionId, number: int) -> None:
        """A reader of a pull subscription was sent events up to `number`; nothing happens to others."""
        shard = self.shard_of(tenant, subscription_id)
        call = ScriptCall("advance", [keys.subscription(shard, tenant, subscription_id)], [number])
        await self._store.run(call)

    async def delete(
        self, tenant: Tenant, subscription_id: SubscriptionId, *, expected_version: str = ""
    ) -> tuple[Registration, int, int]:
        """Forgets it at once, queued retries and the outbox included (R-158)."""
        member = keys.member(tenant, subscription_id)
        arguments: list[Argument] = [
            "delete",
            member,
            uuid.uuid4().hex,
            expected_version,
            "",
            "",
            *([0] * 6),
        ]
        return await self._register(tenant, subscription_id, arguments)

    async def _register(
        self, tenant: Tenant, subscription_id: SubscriptionId, arguments: Sequence[Argument]
    ) -> tuple[Registration, int, int]:
        shard = self.shard_of(tenant, subscription_id)
        script_keys = [
            keys.subscription(shard, tenant, subscription_id),
            keys.members(shard),
            keys.due(shard),
            keys.registry(shard),
            keys.outbox(shard, tenant, subscription_id),
            keys.dead(shard, tenant, subscription_id),
            keys.dead_index(shard),
        ]
        call = ScriptCall("register", script_keys, arguments)
        status, version, at_ms = await self._store.run(call, WriteConcern.DURABLE)
        failpoints.hit("registration.stored")
        return Registration(cast("bytes", status).decode()), int(version), int(at_ms)

    async def get(self, tenant: Tenant, subscription_id: SubscriptionId) -> Record | None:
        return (await self.many([(tenant, subscription_id)]))[0]

    async def many(self, wanted: Sequence[SubscriptionKey]) -> list[Record | None]:
        """Records in the order asked for; None where there is none. One round trip."""
        replies = await self._store.send(
            [
                ("HMGET", keys.subscription(self.shard_of(tenant, one), tenant, one), *_FIELDS)
                for tenant, one in wanted
            ]
        )
        return [record_of(values) for values in replies]

    async def fail(self, record: Record, reason: str) -> bool:
        """Sets it to `error` unless it was put again meanwhile, or isn't active or requested; whether it did."""
        tenant, one = record.subscription.tenant, record.subscription.id
        shard = self.shard_of(tenant, one)
        script_keys = [keys.subscription(shard, tenant, one), keys.due(shard), keys.registry(shard)]
        arguments = [keys.member(tenant, one), record.revision, reason]
        return bool(await self._store.run(ScriptCall("fail", script_keys, arguments)))

    async def of_tenant(self, tenant: Tenant | None) -> AsyncIterator[Record]:
        """Every subscription of a tenant (None: of all), by id within each shard."""
        for shard in range(self._store.layout.shards):
            wanted = sorted(key for key in await self._members(shard) if tenant in {None, key[0]})
            for start in range(0, len(wanted), 500):
                for record in await self.many(wanted[start : start + 500]):
                    if record is not None:
                        yield record

    async def _members(self, shard: int) -> list[SubscriptionKey]:
        (members,) = await self._store.send([("SMEMBERS", keys.members(shard))])
        return [key_of(member) for member in members]

    async def depths(self) -> dict[SubscriptionKey, tuple[str, int, bool]]:
        """Status, number of undelivered events, and whether there are gaps its client has not answered, of every subscription."""
        depths = {}
        for shard in range(self._store.layout.shards):
            members = await self._members(shard)
            replies = await self._store.send(
                [("HMGET", keys.subscription(shard, *key), "st", "count", "cursor", "gt") for key in members]
            )
            for key, (status, count, cursor, gap_ms) in zip(members, replies, strict=True):
                if status:
                    waiting = int(count) - int(cursor)
                    depths[key] = (cast("bytes", status).decode(), waiting, gap_ms is not None)
        return depths


class RegistryFollower:
    """What changed in the registry since the last call; the first call tells everything there is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._subscriptions = Subscriptions(store)
        self._positions: dict[int, bytes] = {}
        self._known: dict[int, set[SubscriptionKey]] = {}

    async def changes(self) -> list[tuple[SubscriptionKey, Record | None]]:
        """Subscriptions put (with their state now) or deleted (None) since the last call, one round trip where nothing is.

        Read it after a batch of changes and before matching it: what was accepted after an activation then meets it.
        """
        told: dict[SubscriptionKey, None] = {}
        positions = dict(self._positions)
        listed: dict[int, set[SubscriptionKey]] = {}
        known = sorted(positions)
        if known:
            streams = {keys.registry(shard).encode(): shard for shard in known}
            logs = {keys.registry(shard): position for shard, position in positions.items()}
            for stream, entries in await self._store.read_streams(logs):
                shard = streams[stream]
                for entry_id, fields in entries:
                    if StreamId.parse(entry_id).sequence != StreamId.parse(positions[shard]).sequence + 1:
                        # trimmed before it was read, or what was read before is forgotten: start over
                        del positions[shard]
                        break
                    positions[shard] = entry_id
                    told[key_of(fields[b"m"])] = None
        for shard in range(self._store.layout.shards):
            if shard not in positions:
                (last,) = await self._store.send([("XREVRANGE", keys.registry(shard), "+", "-", "COUNT", 1)])
                positions[shard] = last[0][0] if last else b"0-0"
                listed[shard] = set(await self._subscriptions._members(shard))  # noqa: SLF001 same module
                # with those that were deleted where the log is gone
                told.update(dict.fromkeys(listed[shard] | self._known.get(shard, set())))
        wanted = list(told)
        changed: list[tuple[SubscriptionKey, Record | None]] = []
        for start in range(0, len(wanted), 1000):
            some = wanted[start : start + 1000]
            changed += zip(some, await self._subscriptions.many(some), strict=True)
        # only now: a call that failed tells the same again
        self._positions = positions
        self._known.update(listed)
        for key, record in changed:
            of_shard = self._known[self._subscriptions.shard_of(*key)]
            (of_shard.discard if record is None else of_shard.add)(key)
        return changed

    def start_over(self) -> None:
        """The next call of `changes` tells everything there is, and what was deleted since."""
        self._positions = {}

    async def trim(self, keep: int) -> None:
        """Bounds each shard's log; a follower that fell further behind starts over by itself."""
        for shard in range(self._store.layout.shards):
            await self._store.send([("XTRIM", keys.registry(shard), "MAXLEN", "~", keep)])
