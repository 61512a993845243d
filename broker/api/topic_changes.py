"""SubscriptionTopics put and deleted while the broker runs, at the R4 base as Basic (R-080, R-480, R-481).

They are checked as a file of the topics folder is, kept in the store, and loaded by every process. What comes from the folder
is changed there. A version that subscriptions are bound to is neither deleted nor turned into another one.
"""

import uuid

from broker.api import resources
from broker.api.responses import Call, Reply, version_headers
from broker.api.topics import refuse_where_unknown
from broker.errors import (
    Conflict,
    Forbidden,
    Issue,
    NotFound,
    PreconditionFailed,
    Unprocessable,
)
from broker.fhir import basics, documents
from broker.fhir.topics import parse_topic
from broker.model.subscription import SubscriptionStatus
from broker.model.topic import Topic
from broker.store.subscriptions import Registration

_KIND = "SubscriptionTopic"
_IN_USE = {SubscriptionStatus.REQUESTED, SubscriptionStatus.ACTIVE}


async def create(call: Call) -> Reply:
    """201 at an id of the broker's choosing."""
    refuse_where_unknown(call)
    return await _put(call, str(uuid.uuid4()), create=True)


async def update(call: Call) -> Reply:
    """Replaces the topic, or creates it under that id. Subscriptions it no longer allows go to `error`."""
    refuse_where_unknown(call)
    return await _put(call, _same_id(call), create=False)


async def delete(call: Call) -> Reply:
    refuse_where_unknown(call)
    return await _delete(call)


async def create_basic(call: Call) -> Reply:
    """A topic where it is coded as one at the R4 base, else a resource like any other."""
    if not _is_topic(call):
        return await resources.create(_as_basic(call))
    return await _put(call, str(uuid.uuid4()), create=True)


async def update_basic(call: Call) -> Reply:
    if not _is_topic(call):
        return await resources.update(_as_basic(call))
    return await _put(call, _same_id(call), create=False)


async def delete_basic(call: Call) -> Reply:
    if call.adapter.topic_type != "Basic" or call.services.catalog.get(call.params["id"]) is None:
        return await resources.delete(_as_basic(call))
    return await _delete(call)


def _as_basic(call: Call) -> Call:
    return call._replace(params={**call.params, "type": "Basic"})


def _is_topic(call: Call) -> bool:
    if call.adapter.topic_type != "Basic":
        return False
    documents.check_type(call.body, "Basic")
    return basics.is_topic(call.body)


def _same_id(call: Call) -> str:
    one = call.params["id"]
    documents.check_id(one)
    held = documents.resource_id(call.body)
    if held != one:
        raise Unprocessable(
            Issue("invalid", f"the body's id is {held!r}, the URL's {one!r}", f"{call.adapter.topic_type}.id")
        )
    return one


def _refuse_strangers(call: Call) -> None:
    """Topics are the administrator's; without access control everyone who may connect is one."""
    if call.services.settings.auth != "off":
        raise Forbidden(Issue("forbidden", "topics are put by an administrator"))


async def _put(call: Call, one: str, *, create: bool) -> Reply:
    _refuse_strangers(call)
    body = call.body
    if call.adapter.topic_type == "Basic":
        body = basics.topic_of_basic(body)
    documents.check_type(body, _KIND)
    head, tail = documents.split(body, type=_KIND, id=one)
    await call.services.follow_topics()
    await _check(call, parse_topic(_document(head, tail)))
    registration, version, at_ms = await call.services.topics.put(
        one, head, tail, create=create, expected_version=call.expected_version
    )
    _refuse_conflict(call, registration, version)
    await call.services.follow_topics()
    topic = call.services.catalog.get(one)
    if topic is None:
        raise Conflict(Issue("conflict", "another topic took the same url|version at the same moment"))
    headers = version_headers(version, at_ms)
    headers["Location"] = call.url(f"{call.adapter.topic_type}/{one}")
    status = 200 if registration is Registration.UPDATED else 201
    return Reply(status, b"" if call.wants_minimal else call.adapter.render_topic(topic), headers)


def _document(head: bytes, tail: bytes) -> bytes:
    """As it will be stored, with any version and time: what is checked is what is kept."""
    return head + b'"versionId":"1","lastUpdated":"2000-01-01T00:00:00Z"' + tail


async def _check(call: Call, topic: Topic) -> None:
    """Raises `Conflict` for what stands in the way, `Unprocessable` for what is wrong with the topic itself."""
    catalog = call.services.catalog
    held, taken = catalog.get(topic.id), catalog.bound(topic.canonical)
    if held is not None:
        await _refuse_of_folder(call, topic.id)
    if taken is not None and taken.id != topic.id:
        text = f"{topic.canonical} is the topic {taken.id} already; give this one another version"
        raise Conflict(Issue("duplicate", text, f"{_KIND}.url"))
    if held is not None and held.canonical != topic.canonical:
        users = await _users(call, held.canonical)
        if users:
            text = (
                f"{users} subscriptions are bound to {held.canonical}; put {topic.canonical} under an id of its own "
                "and retire the old version"
            )
            raise Conflict(Issue("business-rule", text, f"{_KIND}.version"))
    errors = [problem for problem in catalog.examine(topic) if problem.is_error]
    if errors:
        raise Unprocessable(*(Issue("not-supported", str(problem), _KIND) for problem in errors))


async def _delete(call: Call) -> Reply:
    _refuse_strangers(call)
    one = call.params["id"]
    await call.services.follow_topics()
    topic = call.services.catalog.get(one)
    if topic is None:
        raise NotFound(Issue("not-found", f"there is no {call.adapter.topic_type}/{one}"))
    await _refuse_of_folder(call, one)
    users = await _users(call, topic.canonical)
    if users:
        text = f"{users} active subscriptions are bound to {topic.canonical}; retire it instead, or delete them first"
        raise Conflict(Issue("business-rule", text))
    registration, version, _ = await call.services.topics.delete(one, expected_version=call.expected_version)
    _refuse_conflict(call, registration, version)
    await call.services.follow_topics()
    return Reply(204)


async def _refuse_of_folder(call: Call, one: str) -> None:
    stored = await call.services.topics.get(one)
    held = call.services.catalog.get(one)
    if stored is None or held is None or held.document != stored.document:
        text = f"the topic {one} comes from the folder BROKER_TOPICS_DIR; change it there"
        raise Conflict(Issue("conflict", text))


async def _users(call: Call, canonical: str) -> int:
    """How many subscriptions of all tenants wait for events of a topic version."""
    count = 0
    async for record in call.services.subscriptions.of_tenant(None):
        subscription = record.subscription
        count += subscription.status in _IN_USE and subscription.topic_canonical == canonical
    return count


def _refuse_conflict(call: Call, registration: Registration, version: int) -> None:
    if registration is Registration.CONFLICT:
        text = f"the topic is at version {version}, not {call.expected_version}"
        raise PreconditionFailed(Issue("conflict", text))
    if registration is Registration.EXISTS:
        raise Conflict(Issue("conflict", "the topic exists already"))
