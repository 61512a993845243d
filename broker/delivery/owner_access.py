"""What the owner of a subscription may see now, asked at every delivery (R-450, R-451, R-461).

Access rests on the registration of the client, not on the token of a request (R-452). Whoever sends events
asks `permit` first: only `PermittedEvents` can be composed into a notification. The matcher asks `seeing`, so
that a change that the owner may not see gets no number at all.

A client that is not registered any more, is disabled, or lacks a scope for the type of the resources that the
subscription is about, has lost its access: `AccessLost`. Its subscription goes to `off`, and the events that
wait are given up, so that they are not sent later either (decision 220). A resource that a restricted scope
does not allow is withheld alone: an event with its number, an included resource silently.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from broker.errors import BrokerError
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.exposure import exposed_types
from broker.matching.restrictions import Restrictions
from broker.matching.states import filtered_version
from broker.model.change import Change, Tenant, Version, VersionKey
from broker.model.notification import Event
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.release import Release
from broker.model.scopes import ANY_TYPE as EVERY_TYPE
from broker.model.scopes import Scope, Scopes, alternatives
from broker.model.search import Filter
from broker.model.subscription import PayloadContent, Subscription, SubscriptionKey
from broker.model.topic import Topic
from broker.recently_used import RecentlyUsed
from broker.security.clients import Client, ClientRegistry
from broker.store.resources import Resources
from broker.store.subscriptions import Subscriptions

SETTLING_MS = 6_000
"""A subscription that was stored less long ago is not turned off: this process may not know yet that its
client was registered. Nothing is sent until it does.
"""
RETRY_MS = 1_000
"""After so long, what is withheld from a subscription that settles is tried again."""
_UNRESTRICTED = ((),)
_MAX_EXPOSURES = 50_000
_MAX_UNUSED_S = 300.0


class AccessLost(BrokerError):  # noqa: N818 named after the condition
    """The owner of a subscription may not see its notifications; the message is for `$status`."""


@dataclass(frozen=True, slots=True)
class PermittedEvents:
    """Events as they may leave: without included resources that may not be seen.

    `withheld` are the numbers of events whose focus the owner may not see, `unreadable` those of events whose
    stored resources cannot be read, so that nobody can say; both ascending. Only this module makes one with
    events.
    """

    events: tuple[Event, ...] = ()
    withheld: tuple[int, ...] = ()
    unreadable: tuple[int, ...] = ()

    def runs(self) -> Iterator["PermittedEvents"]:
        """The events in parts without a missing number, as a notification needs them (R-275)."""
        start = 0
        for n, event in enumerate(self.events, start=1):
            if n == len(self.events) or self.events[n].number != event.number + 1:
                yield PermittedEvents(self.events[start:n])
                start = n


NO_EVENTS = PermittedEvents()


class DeliveryAccess(Protocol):
    """`OpenAccess` without access control, otherwise `OwnerAccess`."""

    async def check(self, subscription: Subscription) -> None:
        """Raises `AccessLost`, and `StoreUnavailable`."""

    async def permit(
        self, subscription: Subscription, events: Sequence[Event], reader: Principal | None = None
    ) -> PermittedEvents:
        """What of the events its owner may see, and another `reader` too. Raises `AccessLost`, and
        `StoreUnavailable`.
        """
        ...

    async def seeing(self, change: Change, owners: Collection[str]) -> frozenset[str]:
        """Those of the owners, clients of the tenant of the change, who may see it."""
        ...

    async def end(self, subscription: Subscription, revision: str, lost: AccessLost, now_ms: int) -> bool:
        """Turns the subscription off; False while it settles: then nothing is sent for `RETRY_MS`."""
        ...


class OpenAccess:
    """Everyone may see everything."""

    async def check(self, _subscription: Subscription) -> None:
        return

    async def permit(
        self, _subscription: Subscription, events: Sequence[Event], _reader: Principal | None = None
    ) -> PermittedEvents:
        return PermittedEvents(tuple(events))

    async def seeing(self, _change: Change, owners: Collection[str]) -> frozenset[str]:
        return frozenset(owners)

    async def end(self, _subscription: Subscription, _revision: str, _lost: AccessLost, _now_ms: int) -> bool:
        return False


class BoundTopics(Protocol):
    """The topic catalog, as far as access needs it."""

    def bound(self, canonical: str) -> Topic | None:
        """The topic version that a subscription is bound to; None if it is no longer served."""
        ...


class _Exposure(NamedTuple):
    """Of a subscription, as long as it has this topic, release and filters (`depends`)."""

    topic: Topic
    depends: tuple[Release, tuple[Filter, ...]]
    types: tuple[str, ...]


class OwnerAccess:
    """One a process. The registry may answer as it was five seconds ago."""

    def __init__(
        self,
        clients: ClientRegistry,
        subscriptions: Subscriptions,
        resources: Resources,
        topics: BoundTopics,
        context: SearchContext,
    ) -> None:
        self._clients = clients
        self._subscriptions = subscriptions
        self._resources = resources
        self._topics = topics
        self._context = context
        self._restrictions = Restrictions(context)
        self._exposures = RecentlyUsed[SubscriptionKey, _Exposure](_MAX_EXPOSURES, _MAX_UNUSED_S)

    async def check(self, subscription: Subscription) -> None:
        await self._scopes_of_owner(subscription)

    async def permit(
        self, subscription: Subscription, events: Sequence[Event], reader: Principal | None = None
    ) -> PermittedEvents:
        owned = await self._scopes_of_owner(subscription)
        other = reader.scopes if reader is not None and reader.client_id != subscription.owner else None
        try:
            return await self._permitted(events, owned, other)
        except ValueError:  # a stored version is damaged: the other events need not wait for it
            return await self._permitted_one_by_one(events, owned, other)

    async def _permitted_one_by_one(
        self, events: Sequence[Event], owned: Scopes, other: Scopes | None
    ) -> PermittedEvents:
        permitted: list[PermittedEvents] = []
        for event in events:
            try:
                permitted.append(await self._permitted([event], owned, other))
            except ValueError:
                permitted.append(PermittedEvents(unreadable=(event.number,)))
        return PermittedEvents(
            tuple(event for each in permitted for event in each.events),
            tuple(number for each in permitted for number in each.withheld),
            tuple(number for each in permitted for number in each.unreadable),
        )

    async def _permitted(
        self, events: Sequence[Event], owned: Scopes, other: Scopes | None
    ) -> PermittedEvents:
        """Raises `ValueError` for a damaged version."""
        hidden = await self._hidden(events, owned)
        withheld = tuple(event.number for event in events if event.focus in hidden)
        if other is not None:
            hidden = hidden | await self._hidden(events, other)
        if not hidden:
            return PermittedEvents(tuple(events), withheld)
        visible = tuple(
            event._replace(context=tuple(each for each in event.context if each.key not in hidden))
            for event in events
            if event.focus not in hidden
        )
        return PermittedEvents(visible, withheld)

    async def seeing(self, change: Change, owners: Collection[str]) -> frozenset[str]:
        tenant, version = change.current.key.tenant, filtered_version(change)
        verdicts: dict[object, bool] = {}
        seeing = []
        for owner in owners:
            client = await self._clients.find(owner)
            if client is None or _why_not(client, tenant):
                continue
            granted = alternatives(client.scopes, change.current.key.type, "r")
            if granted not in verdicts:
                verdicts[granted] = granted == _UNRESTRICTED or (
                    version is not None and self._restrictions.allow(granted, version)
                )
            if verdicts[granted]:
                seeing.append(owner)
        return frozenset(seeing)

    async def end(self, subscription: Subscription, revision: str, lost: AccessLost, now_ms: int) -> bool:
        if now_ms - subscription.updated_ms < SETTLING_MS:
            return False
        await self._subscriptions.end_access((subscription.tenant, subscription.id), revision, str(lost))
        return True

    async def _scopes_of_owner(self, subscription: Subscription) -> Scopes:
        client = await self._clients.find(subscription.owner)
        reason = _why_not(client, subscription.tenant, subscription.owner)
        if client is None or reason:
            raise AccessLost(reason)
        missing = [name for name in self._exposed(subscription) if not alternatives(client.scopes, name, "r")]
        if missing:
            scopes = " ".join(str(Scope("system", name, "r")) for name in missing)
            raise AccessLost(f"the client {client.client_id!r}, which owns the subscription, lacks {scopes}")
        return client.scopes

    def _exposed(self, subscription: Subscription) -> Sequence[str]:
        """The types of the foci and of what filters test. Of included types each resource is checked."""
        topic = self._topics.bound(subscription.topic_canonical)
        if topic is None:
            return ()
        key = (subscription.tenant, subscription.id)
        depends = (subscription.release, subscription.filters)
        exposure = self._exposures.get(key)
        if exposure is None or exposure.topic is not topic or exposure.depends != depends:
            channel = replace(subscription.channel, content=PayloadContent.ID_ONLY)
            types = exposed_types(subscription.changed(channel=channel), topic, self._context)
            names = sorted(EVERY_TYPE if name == ANY_TYPE else name for name in types)
            exposure = _Exposure(topic, depends, tuple(names))
            self._exposures.put(key, exposure)
        return exposure.types

    async def _hidden(self, events: Sequence[Event], scopes: Scopes) -> frozenset[VersionKey]:
        """The versions among foci and included resources that the scopes do not allow to read."""
        granted = {
            key: alternatives(scopes, key.type, "r")
            for event in events
            for key in (event.focus, *(included.key for included in event.context))
        }
        hidden = {key for key, allowed in granted.items() if not allowed}
        restricted = [key for key, allowed in granted.items() if allowed not in {(), _UNRESTRICTED}]
        if not restricted:
            return frozenset(hidden)
        shown = await self._contents(restricted)
        return frozenset(hidden).union(
            key
            for key in restricted
            if not all(
                version is not None and self._restrictions.allow(granted[key], version)
                for version in shown[key]
            )
        )

    async def _contents(self, keys: Iterable[VersionKey]) -> dict[VersionKey, Sequence[Version | None]]:
        """For each version its content and the current one of the resource, which both have to be allowed: a
        resource that was moved out of sight takes its earlier versions with it (R-456).

        The content of a deletion is that of the version before. None where it is no longer stored.
        """
        current = {
            (tenant, *target): version
            for tenant, targets in _by_tenant(keys).items()
            for target, version in (await self._resources.current_many(tenant, targets)).items()
        }
        stored = await self._resources.many(keys)
        known = {**stored, **{version.key: version for version in current.values()}}
        before = [_before(version.key) for version in known.values() if version.resource is None]
        known |= await self._resources.many(key for key in before if key not in known)

        def content(version: Version | None) -> Version | None:
            if version is None or version.resource is not None:
                return version
            return known.get(_before(version.key))

        return {
            key: (content(known.get(key)), content(current.get((key.tenant, key.type, key.id))))
            for key in keys
        }


def _by_tenant(keys: Iterable[VersionKey]) -> dict[Tenant, set[tuple[str, str]]]:
    targets: dict[Tenant, set[tuple[str, str]]] = {}
    for key in keys:
        targets.setdefault(key.tenant, set()).add((key.type, key.id))
    return targets


def _before(key: VersionKey) -> VersionKey:
    return key._replace(version=key.version - 1)


def _why_not(client: Client | None, tenant: Tenant, owner: str = "") -> str:
    """Why the client may see nothing of the tenant; '' where it may."""
    if client is None:
        if owner in {"", OPEN_PRINCIPAL.client_id}:
            return (
                "the subscription was registered without access control (BROKER_AUTH=off) and belongs to no "
                "client: its subscriber has to register it again"
            )
        return f"the client {owner!r}, which owns the subscription, is not registered"
    if client.is_disabled:
        return f"the client {client.client_id!r}, which owns the subscription, is disabled"
    if client.tenant != tenant:
        return f"the client {client.client_id!r}, which owns the subscription, belongs to another tenant"
    return ""
