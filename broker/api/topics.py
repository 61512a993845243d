"""Read, search, create, update, patch, delete and trial of SubscriptionTopic; at the R4 base topics are Basic
resources (R-387).

The R4 base has a Basic row twice: for topics, by the conditions here, and for the Basic resources of
producers.
"""

from broker.api.dry_run import read_count
from broker.api.exchange import FhirRequest, FhirResponse, Handler, id_of_update, version_headers
from broker.api.named_values import read, resource
from broker.api.preconditions import search_of_create
from broker.api.searchsets import each_of, searchset
from broker.api.topic_trial import render_topic_trial
from broker.api.write_responses import deleted, written
from broker.errors import Issue, MethodNotAllowed, NotFound, RequestError
from broker.fhir import basic_topics
from broker.ingest.patches import apply_patch
from broker.model.resource import Resource
from broker.model.topic import Topic
from broker.services.accessed import entity_of
from broker.services.topic_fields import TOPIC_FIELDS
from broker.services.topic_trial import TopicTrialService
from broker.services.topics import PutTopic, TopicService


class TopicHandlers:
    """The rows for SubscriptionTopic and, at the R4 base, for Basic."""

    def __init__(self, topics: TopicService, trials: TopicTrialService) -> None:
        self._topics = topics
        self._trials = trials

    def names_topic(self, request: FhirRequest) -> bool:
        """Whether a Basic row with an id is about a topic."""
        if request.adapter.topic_type != "Basic":
            return False
        return self._topics.find(request.principal, request.params["id"]) is not None

    async def read(self, request: FhirRequest) -> FhirResponse:
        """The topic as the release knows it."""
        _refuse_without_topics(request)
        topic = await self._topics.get(request.principal, request.params["id"])
        return FhirResponse(body=request.adapter.render_topic(topic).text)

    def or_deleted(self, read: Handler) -> Handler:
        """A read of Basic at the R4 base by `read`, and 410 where a topic had the id."""

        async def read_basic(request: FhirRequest) -> FhirResponse:
            try:
                return await read(request._replace(params={"type": "Basic", **request.params}))
            except NotFound:
                if request.adapter.topic_type == "Basic":
                    await self._topics.refuse_deleted(request.principal, request.params["id"])
                raise

        return read_basic

    async def search(self, request: FhirRequest) -> FhirResponse:
        """By the search parameters of the release."""
        _refuse_without_topics(request)
        topics, fields = each_of(self._topics.all(request.principal)), TOPIC_FIELDS[request.release]
        return await searchset(
            request, request.adapter.topic_type, fields, topics, request.adapter.render_topic
        )

    async def create(self, request: FhirRequest) -> FhirResponse:
        """201 under an id that the broker assigns; 200 with the topic that meets If-None-Exist."""
        _refuse_without_topics(request)
        criteria = search_of_create(request, request.adapter.topic_type, TOPIC_FIELDS[request.release])
        result = await self._topics.create(request.principal, _topic_resource(request), criteria)
        if isinstance(result, PutTopic):
            return _respond(request, result)
        headers = {"Location": request.url(f"{request.adapter.topic_type}/{result.id}")}
        return written(request, 200, request.adapter.render_topic(result), headers)

    async def try_out(self, request: FhirRequest) -> FhirResponse:
        """Which of the newest changes a topic fires on that is not stored."""
        _refuse_without_topics(request)
        values = read(request.resource, ("topic", "count"))
        count = read_count(values.get("count"))
        topic = _topic_resource(request._replace(resource=resource(values, "topic")))
        trial = await self._trials.run(request.principal, topic, count)
        matches = trial.report.matches if trial.report is not None else ()
        accessed = [entity_of(change.current) for change in matches]
        return FhirResponse(body=render_topic_trial(trial), accessed=accessed)

    async def refuse_conditional(self, request: FhirRequest) -> FhirResponse:
        """Topics are changed by id: a topic that criteria find may come from the folder."""
        text = f"{request.method} {request.path} is not supported for topics. Send it with an id."
        raise MethodNotAllowed(Issue("not-supported", text))

    async def update(self, request: FhirRequest) -> FhirResponse:
        """Replaces the topic or creates it under that id. Subscriptions that it no longer allows go to
        `error`.
        """
        _refuse_without_topics(request)
        put = await self._topics.put(
            request.principal,
            id_of_update(request),
            _topic_resource(request),
            condition=request.condition,
        )
        return _respond(request, put)

    async def patch(self, request: FhirRequest) -> FhirResponse:
        """Applies a patch to the topic as the base shows it; the result is checked as an update."""
        _refuse_without_topics(request)
        patch = request.patch

        def patched(topic: Topic) -> Resource:
            resource = apply_patch(patch, request.adapter.render_topic(topic), request.release)
            return _topic_resource(request._replace(resource=resource))

        put = await self._topics.patch(
            request.principal, request.params["id"], patched, condition=request.condition
        )
        return _respond(request, put)

    async def delete(self, request: FhirRequest) -> FhirResponse:
        """204; 409 while subscriptions are bound to the topic."""
        _refuse_without_topics(request)
        await self._topics.delete(request.principal, request.params["id"], condition=request.condition)
        return deleted(request)


def is_topic_search(request: FhirRequest) -> bool:
    """Whether a search of Basic is one of topics, which are the only Basic resources that can be searched."""
    return request.adapter.topic_type == "Basic"


def carries_topic(request: FhirRequest) -> bool:
    """Whether a Basic resource in the body is coded as a topic. False for a body that is not one."""
    if request.adapter.topic_type != "Basic":
        return False
    try:
        return request.resource.type == "Basic" and basic_topics.is_topic(request.resource)
    except RequestError:
        return False


def _refuse_without_topics(request: FhirRequest) -> None:
    """The R4 base has no SubscriptionTopic, and the others have no topics among the Basic resources."""
    is_basic_row = request.path.partition("/")[0] == "Basic"
    if request.adapter.topic_type != "Basic" and is_basic_row:
        text = (
            f"At FHIR {request.adapter.version} a topic is a SubscriptionTopic. "
            f"Send it to {request.url('SubscriptionTopic/$try')}."
        )
        raise NotFound(Issue("not-supported", text))
    if request.adapter.topic_type != "SubscriptionTopic" and not is_basic_row:
        text = (
            f"FHIR {request.adapter.version} has no SubscriptionTopic. "
            f"{request.url('Basic?code=SubscriptionTopic')} lists the topics."
        )
        raise NotFound(Issue("not-supported", text))


def _topic_resource(request: FhirRequest) -> Resource:
    if request.adapter.topic_type == "Basic":
        return basic_topics.topic_of_basic(request.resource)
    return request.resource


def _respond(request: FhirRequest, put: PutTopic) -> FhirResponse:
    headers = version_headers(put.version, put.at_ms)
    headers["Location"] = request.url(f"{request.adapter.topic_type}/{put.topic.id}")
    status = 201 if put.is_created else 200
    return written(request, status, request.adapter.render_topic(put.topic), headers)
