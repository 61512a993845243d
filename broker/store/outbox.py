"""One stream of numbered events per subscription; the entry id is the event number, so Redis itself refuses a repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from broker.errors import BrokerError
from broker.model.change import Change, Tenant, VersionKey
from broker.model.gap import GapReason
from broker.model.notification import Event, Included
from broker.model.release import Release
from broker.model.subscription import SubscriptionId
from broker.store import keys
from broker.store.gaps import GapReporter
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.replies import entries_of
from broker.store.resources import INTERACTIONS, RELEASES
from broker.store.rollback import RollbackDetector
from broker.store.stream_id import event_number

SubscriptionKey = tuple[Tenant, SubscriptionId]
MOST_EVENTS = 1_000_000


class Fenced(BrokerError):  # noqa: N818 a state, told to the matcher that lost its partition
    """A newer matcher holds the partition; nothing was added."""


def event_of(tenant: Tenant, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    return Event(
        number=event_number(entry_id),
        at_ms=int(fields[b"a"]),
        focus=VersionKey(tenant, fields[b"y"].decode(), fields[b"i"].decode(), int(fields[b"v"])),
        release=RELEASES[fields[b"r"]],
        interaction=INTERACTIONS[fields[b"x"]],
        context=tuple(_included(tenant, one) for one in fields[b"k"].decode().split())
        if b"k" in fields
        else (),
    )


class StoreRolledBack(BrokerError):  # noqa: N818 a state, told to the matcher that knows better
    """The store has forgotten events it had numbered; nothing was added."""


def key_of(member: bytes) -> SubscriptionKey:
    tenant, _, one = member.decode().partition(":")
    return Tenant(tenant), SubscriptionId(one)


def _included(tenant: Tenant, text: str) -> Included:
    kind, one, version, release = text.split("/")
    return Included(VersionKey(tenant, kind, one, int(version)), Release(release))


@dataclass(frozen=True, slots=True)
class Context:
    """What goes with the events of one change, and how many bytes of resources that is."""

    included: tuple[Included, ...]
    size: int

    @property
    def text(self) -> str:
        return " ".join(f"{one.key.reference}/{one.key.version}/{one.release}" for one in self.included)


NO_CONTEXT = Context((), 0)


class Outboxes:
    """Appends and reads events. `most` is how many of one subscription are kept; `witness` knows what was numbered."""

    def __init__(
        self, store: Store, *, most: int = MOST_EVENTS, rollback_detector: RollbackDetector | None = None
    ) -> None:
        self._store = store
        self._most = most
        self._rollback_detector = rollback_detector or RollbackDetector(store)
        self._gaps = GapReporter()

    async def append(
        self,
        partition: int,
        token: int,
        matched: Mapping[SubscriptionKey, Sequence[Change]],
        contexts: Mapping[tuple[SubscriptionKey, str], Context] = MappingProxyType({}),
    ) -> int:
        """Numbers the changes of one partition in each subscription they matched, in order; answers how many were new.

        `contexts` has what goes with an event, by subscription and change id.
        When more wait than are kept, the oldest are given up: the subscription goes to `error`, and it is told (`model/gap.py`).
        Idempotent: what an earlier call numbered is passed over. Raises `Fenced` if the partition's lease has moved on,
        and `StoreRolledBack` if the store has forgotten what this process had numbered.
        """
        by_shard: dict[int, list[SubscriptionKey]] = {}
        for key in matched:
            by_shard.setdefault(self._store.layout.shard_of(*key), []).append(key)
        calls = []
        for shard, some in by_shard.items():
            script_keys = [keys.fence(shard), keys.due(shard), keys.registry(shard)]
            arguments: list[Argument] = [
                partition,
                token,
                keys.WAKE,
                shard,
                self._most,
                self._rollback_detector.numbered(shard, partition),
            ]
            for key in some:
                script_keys += [keys.subscription(shard, *key), keys.outbox(shard, *key)]
                arguments += [keys.member(*key), len(matched[key])]
                for change in matched[key]:
                    now = change.current
                    context = contexts.get((key, change.id), NO_CONTEXT)
                    arguments += [
                        change.id,
                        now.key.type,
                        now.key.id,
                        now.key.version,
                        now.interaction,
                        now.release,
                        now.at_ms,
                        len(now.body or b"") + context.size,
                        context.text,
                    ]
            calls.append(ScriptCall("append_events", script_keys, arguments))
        # the acknowledgment of the changes, which follows, must not outlive the events
        answers = await self._store.run_many(calls, WriteConcern.ORDERED)
        outcomes = {added for added, *_ in answers}
        if -1 in outcomes:
            raise Fenced(f"partition {partition} is matched by another process now")
        if -2 in outcomes:
            raise StoreRolledBack(f"a shard has numbered less of partition {partition} than it had")
        for shard, (_, numbered, *given_up) in zip(by_shard, answers, strict=True):
            self._rollback_detector.record_numbered(shard, partition, numbered)
            for member, low, high in zip(*[iter(given_up)] * 3, strict=True):
                self._gaps.tell(*key_of(member), int(low), int(high), GapReason.SIZE)
        return sum(added for added, *_ in answers)

    async def read(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        first: int | None,
        last: int | None,
        *,
        limit: int,
    ) -> list[Event]:
        """Events by number, both bounds inclusive and open if None; the oldest `limit` of them."""
        shard = self._store.layout.shard_of(tenant, subscription_id)
        low = "-" if first is None else f"{max(first, 0)}-0"
        high = "+" if last is None else f"{max(last, 0)}-0"
        (reply,) = await self._store.send(
            [("XRANGE", keys.outbox(shard, tenant, subscription_id), low, high, "COUNT", limit)]
        )
        return [event_of(tenant, entry_id, fields) for entry_id, fields in entries_of(reply)]
