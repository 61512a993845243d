"""What checking access costs: of an event when it is matched, and of a notification with one event and one
included resource. Processor time of this process, the lowest of several rounds, so a loaded machine changes
little. The reads of current versions, which restricted scopes need, are answered from memory and not counted.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from typing import Any, cast

from bench.figures import Figure
from broker.app.topics import load_catalog
from broker.delivery.owner_access import DeliveryAccess, OpenAccess, OwnerAccess
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import Event, Included
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import parse_scopes
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.security.clients import Client
from broker.settings import Settings
from broker.testing.readings import HEART_RATE, observation

BENCH = "access"
_ROUNDS = 15
_OWNER = "owner"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
_SCOPES = {
    "unrestricted": "system/Observation.rs system/Patient.rs",
    "restricted": f"system/Observation.rs?category={_CATEGORY} system/Patient.rs",
}
MOST_US = 20.0
"""Of a check of a notification without restricted scopes: it is two lookups and no evaluation."""
_READING = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 60) | {"id": "o1"}
_TEXTS = {"Observation": _READING, "Patient": {"resourceType": "Patient", "id": "ana"}}
_KEYS = {name: VersionKey(DEFAULT_TENANT, name, str(text["id"]), 1) for name, text in _TEXTS.items()}
_VERSIONS = {
    key: Version(key, Release.R4, Interaction.CREATE, 1, Resource(json.dumps(_TEXTS[name]).encode()))
    for name, key in _KEYS.items()
}
_EVENT = Event(
    1, 1, _KEYS["Observation"], Release.R4, Interaction.CREATE, (Included(_KEYS["Patient"], Release.R4),)
)
_CHANGE = Change("1-0", 0, _VERSIONS[_KEYS["Observation"]], None)
_SUBSCRIPTION = Subscription(
    tenant=DEFAULT_TENANT,
    id=SubscriptionId("s1"),
    release=Release.R4,
    status=SubscriptionStatus.ACTIVE,
    topic="http://example.org/topic",
    filters=(),
    channel=Channel(
        ChannelType("rest-hook"),
        "http://127.0.0.1",
        (),
        "application/fhir+json",
        PayloadContent.FULL_RESOURCE,
    ),
    document=b"{}",
    owner=_OWNER,
    topic_canonical="http://fhir-broker.org/topics/vital-signs|1.0.0",
)


class _Registry:
    def __init__(self, scope: str) -> None:
        self._client = Client(_OWNER, _OWNER, DEFAULT_TENANT, frozenset(), parse_scopes(scope))

    async def find(self, _client_id: str) -> Client | None:
        return self._client


class _Stored:
    """Resources in memory."""

    async def many(self, wanted: Iterable[VersionKey]) -> dict[VersionKey, Version]:
        return {key: _VERSIONS[key] for key in wanted}

    async def current_many(
        self, _tenant: str, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Version]:
        return {(name, key_id): _VERSIONS[_KEYS[name]] for name, key_id in wanted}


def _us(run: Any, repeats: int) -> float:
    """The lowest processor time of one call, in microseconds."""

    async def repeat() -> float:
        started = time.process_time_ns()
        for _ in range(repeats):
            await cast("Coroutine[Any, Any, object]", run())
        return (time.process_time_ns() - started) / repeats / 1000

    def in_new_loop() -> float:
        return asyncio.run(repeat())

    return round(min(in_new_loop() for _ in range(_ROUNDS)), 2)


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    repeats = 300 if is_quick else 3_000
    catalog = load_catalog(Settings())
    context = catalog.search_context(frozenset({"http://127.0.0.1/r4"}))
    accesses: dict[str, DeliveryAccess] = {"off": OpenAccess()}
    for name, scope in _SCOPES.items():
        accesses[name] = OwnerAccess(
            _Registry(scope), cast("Any", None), cast("Any", _Stored()), catalog, context
        )
    for name, access in accesses.items():

        def seeing(access: DeliveryAccess = access) -> object:
            return access.seeing(_CHANGE, (_OWNER,))

        def permit(access: DeliveryAccess = access) -> object:
            return access.permit(_SUBSCRIPTION, (_EVENT,))

        yield Figure(BENCH, f"match, {name}", await asyncio.to_thread(_us, seeing, repeats), "µs/event")
        at_most = MOST_US if name == "unrestricted" else None
        cost = await asyncio.to_thread(_us, permit, repeats)
        yield Figure(BENCH, f"delivery, {name}", cost, "µs/notification", at_most=at_most)
