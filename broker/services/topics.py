"""Reads, stores and deletes SubscriptionTopics while the broker runs (R-080, R-480, R-481).

A topic that is stored is checked as a file of the topics folder is, and every process loads it. A topic of
the folder is changed in the folder only. A version that subscriptions are bound to is neither deleted nor
turned into another.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.errors import Conflict, Gone, Issue, NotFound, PreconditionFailed, Unprocessable
from broker.fhir.identity import check_type
from broker.fhir.topic_elements import topic_element
from broker.fhir.topics import parse_topic
from broker.ingest.patches import MAX_ATTEMPTS
from broker.matching.catalog import Catalog
from broker.matching.problems import TopicProblem
from broker.model.precondition import MUST_NOT_EXIST, UNCONDITIONAL, VersionCondition
from broker.model.principal import Principal
from broker.model.resource import Resource
from broker.model.subscription import SubscriptionStatus
from broker.model.topic import Topic
from broker.services.search_criteria import SearchCriteria
from broker.store.id_claims import IdClaims
from broker.store.subscriptions import Registration, Subscriptions
from broker.store.topics import Topics

_TYPE = "SubscriptionTopic"
_ID_OF_NEW_TOPIC = "new"
_IN_USE = {SubscriptionStatus.REQUESTED, SubscriptionStatus.ACTIVE}


@dataclass(frozen=True, slots=True)
class PutTopic:
    """A topic as stored: its version in the store and the time (ms) it was written."""

    topic: Topic
    version: int
    at_ms: int
    is_created: bool


class TopicService:
    """The topics of the broker. `synchronize` brings the catalog of this process in step with the store."""

    def __init__(
        self,
        catalog: Catalog,
        topics: Topics,
        subscriptions: Subscriptions,
        claims: IdClaims,
        synchronize: Callable[[], Awaitable[None]],
    ) -> None:
        self._catalog = catalog
        self._topics = topics
        self._subscriptions = subscriptions
        self._claims = claims
        self._synchronize = synchronize

    def all(self, _principal: Principal) -> Sequence[Topic]:
        """Every topic that this process serves."""
        return self._catalog.all()

    def find(self, _principal: Principal, topic_id: str) -> Topic | None:
        """The topic of that id."""
        return self._catalog.get(topic_id)

    async def get(self, principal: Principal, topic_id: str) -> Topic:
        """The topic of that id; raises `NotFound`, or `Gone` where it was deleted."""
        topic = self.find(principal, topic_id)
        if topic is None:
            await self.refuse_deleted(principal, topic_id)
            raise _not_found(topic_id)
        return topic

    async def refuse_deleted(self, principal: Principal, topic_id: str) -> None:
        """Raises `Gone` for the id of a topic that was deleted."""
        if await self._topics.is_deleted(principal.tenant, topic_id):
            raise Gone(Issue("deleted", f"The topic {topic_id} was deleted. Put it again, or use another."))

    def examine(self, resource: Resource) -> tuple[Topic, Sequence[TopicProblem]]:
        """The topic that a SubscriptionTopic is, with the errors that would keep it from being stored, and
        warnings. Stores nothing. Raises `Malformed` or `Unprocessable` for what is no topic.
        """
        check_type(resource, _TYPE)
        unversioned = resource.without_version(type=_TYPE, id=resource.id or _ID_OF_NEW_TOPIC)
        topic = parse_topic(unversioned.with_version(1, 0))
        return topic, self._catalog.examine(topic)

    async def create(
        self, principal: Principal, resource: Resource, criteria: SearchCriteria[Topic] | None = None
    ) -> PutTopic | Topic:
        """Stores a SubscriptionTopic under a new id, or returns the topic that meets the criteria.

        Raises what `put` raises, and `PreconditionFailed` for several matches.
        """
        topic_id = str(uuid.uuid4())
        if criteria is None:
            return await self.put(principal, topic_id, resource, condition=MUST_NOT_EXIST)
        await self._synchronize()
        match = criteria.single(self._catalog.all(), _TYPE)
        if match is not None:
            return match
        topic_id = await self._claims.claim(principal.tenant, _TYPE, [criteria.text], topic_id)
        try:
            return await self.put(principal, topic_id, resource, condition=MUST_NOT_EXIST)
        except (Conflict, PreconditionFailed):
            match = criteria.single(self._catalog.all(), _TYPE)  # a concurrent request has created it
            if match is None:
                raise
            return match

    async def put(
        self,
        principal: Principal,
        topic_id: str,
        resource: Resource,
        *,
        condition: VersionCondition = UNCONDITIONAL,
    ) -> PutTopic:
        """Stores a SubscriptionTopic under the id. Subscriptions that it no longer allows go to `error`.

        Raises `Conflict` for what stands in the way, `Unprocessable` for an error in the topic, and
        `PreconditionFailed` where the stored version does not meet `condition`.
        """
        check_type(resource, _TYPE)
        unversioned = resource.without_version(type=_TYPE, id=topic_id)
        await self._synchronize()
        await self._check(principal, parse_topic(unversioned.with_version(1, 0)))
        registration, version, at_ms = await self._topics.put(
            principal.tenant,
            topic_id,
            unversioned,
            create=False,
            condition=condition,
        )
        _refuse_conflict(registration, version, condition)
        await self._synchronize()
        topic = self.find(principal, topic_id)
        if topic is None:
            text = "Another topic took the same url and version at the same moment. Send another version."
            raise Conflict(Issue("conflict", text, f"{_TYPE}.version"))
        return PutTopic(topic, version, at_ms, is_created=registration is not Registration.UPDATED)

    async def patch(
        self,
        principal: Principal,
        topic_id: str,
        patched: Callable[[Topic], Resource],
        *,
        condition: VersionCondition = UNCONDITIONAL,
    ) -> PutTopic:
        """Replaces the stored topic by what `patched` makes of it; what other clients write meanwhile stays.

        Raises `NotFound`, and what `patched` and `put` raise.
        """
        for _ in range(MAX_ATTEMPTS):
            await self._synchronize()
            topic = await self.get(principal, topic_id)
            stored = await self._topics.get(principal.tenant, topic_id)
            if stored is not None and not condition.is_met_by(stored.version):
                raise PreconditionFailed(Issue("conflict", condition.failure("The topic", stored.version)))
            await self._refuse_of_folder(principal, topic)
            if stored is None or stored.document != topic.document:
                continue
            try:
                current = VersionCondition(str(stored.version))
                return await self.put(principal, topic_id, patched(topic), condition=current)
            except PreconditionFailed:  # it has changed since
                continue
        raise Conflict(Issue("conflict", f"The topic {topic_id} keeps changing. Retry the request."))

    async def delete(
        self, principal: Principal, topic_id: str, *, condition: VersionCondition = UNCONDITIONAL
    ) -> None:
        """Deletes a stored topic; repeating it does nothing. Raises `NotFound` for one that never was,
        `Conflict` while it is in use, and `PreconditionFailed`.
        """
        await self._synchronize()
        if not condition.is_met_by(None) and self._catalog.get(topic_id) is None:
            raise PreconditionFailed(Issue("conflict", condition.failure("The topic", 0)))
        topic = self.find(principal, topic_id)
        if topic is None:
            if await self._topics.is_deleted(principal.tenant, topic_id):
                return
            raise _not_found(topic_id)
        await self._refuse_of_folder(principal, topic)
        users = await self._count_users(topic)
        if users:
            text = (
                f"{users} active subscriptions are bound to {topic.canonical}. "
                "Retire the topic instead, or delete the subscriptions first."
            )
            raise Conflict(Issue("business-rule", text))
        registration, version, _ = await self._topics.delete(principal.tenant, topic_id, condition=condition)
        _refuse_conflict(registration, version, condition)
        await self._synchronize()

    async def _check(self, principal: Principal, topic: Topic) -> None:
        current, namesake = self._catalog.get(topic.id), self._catalog.bound(topic.canonical)
        if current is not None:
            await self._refuse_of_folder(principal, current)
        if namesake is not None and namesake.id != topic.id:
            text = f"{topic.canonical} is already the topic {namesake.id}. Give this one another version."
            raise Conflict(Issue("duplicate", text, f"{_TYPE}.url"))
        if current is not None and current.canonical != topic.canonical:
            users = await self._count_users(current)
            if users:
                text = (
                    f"{users} subscriptions are bound to {current.canonical}. "
                    f"Put {topic.canonical} under an id of its own and retire the old version."
                )
                raise Conflict(Issue("business-rule", text, f"{_TYPE}.version"))
        errors = [problem for problem in self._catalog.examine(topic) if problem.is_error]
        if errors:
            raise Unprocessable(*(issue_of(problem) for problem in errors))

    async def _refuse_of_folder(self, principal: Principal, topic: Topic) -> None:
        stored = await self._topics.get(principal.tenant, topic.id)
        if stored is None or topic.document != stored.document:
            text = f"The topic {topic.id} comes from the folder BROKER_TOPICS_DIR. Change it there."
            raise Conflict(Issue("conflict", text))

    async def _count_users(self, topic: Topic) -> int:
        """How many subscriptions, of all tenants, wait for events of the topic version."""
        count = 0
        async for record in self._subscriptions.of_all_tenants():
            subscription = record.subscription
            count += subscription.status in _IN_USE and subscription.topic_canonical == topic.canonical
        return count


def _not_found(topic_id: str) -> NotFound:
    text = f"The topic {topic_id} does not exist. Search the topics for those that do."
    return NotFound(Issue("not-found", text))


def _refuse_conflict(registration: Registration, version: int, condition: VersionCondition) -> None:
    if registration is Registration.CONFLICT:
        raise PreconditionFailed(Issue("conflict", condition.failure("The topic", version)))


def issue_of(problem: TopicProblem) -> Issue:
    """An error of a topic, with the element that has it."""
    location = problem.location
    element = _TYPE if location is None else f"{_TYPE}.{topic_element(location)}"
    return Issue("not-supported", problem.text, element)
