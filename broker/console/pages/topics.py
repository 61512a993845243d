"""Topics: what each fires on in words, and who subscribes to it. A pasted topic is checked and tried on the
last changes before it is saved.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from broker.console.page import Answer, PageRequest, SeeOther, View
from broker.console.pages.subscriptions import next_page
from broker.errors import Issue, Malformed, NotFound
from broker.fhir.identity import check_id
from broker.fhir.topic_elements import topic_element
from broker.matching.problems import TopicProblem
from broker.model import json_text
from broker.model.audit import AuditEntity
from broker.model.resource import Resource
from broker.model.topic import Topic
from broker.services.accessed import entity_of
from broker.services.dry_run import DEFAULT_COUNT
from broker.services.subscription_listing import ListingConditions, SubscriptionListing
from broker.services.topic_trial import TopicTrialService
from broker.services.topic_words import offered_filter_in_words, shape_in_words, triggers_in_words
from broker.services.topics import TopicService


class TopicPages:
    """The rows for `/topics`."""

    def __init__(self, topics: TopicService, listing: SubscriptionListing, trials: TopicTrialService) -> None:
        self._topics = topics
        self._listing = listing
        self._trials = trials

    async def search(self, request: PageRequest) -> Answer:
        """All topics that this process serves."""
        topics = sorted(self._topics.all(request.principal), key=lambda topic: topic.canonical)
        rows = [{"topic": topic, "triggers": triggers_in_words(topic)} for topic in topics]
        return View("topics.html", {"rows": rows})

    async def show(self, request: PageRequest) -> Answer:
        """One topic, with the first of its Subscriptions that the person may see."""
        topic = await self._topics.get(request.principal, request.params["id"])
        conditions = ListingConditions(topic=topic.canonical)
        listing = await self._listing.page(request.principal, conditions)
        values = {
            **_words(topic),
            "document": json_text.indented(topic.document).decode(),
            "listing": listing,
            "more": next_page(conditions, listing.next),
        }
        accessed = [AuditEntity("Subscription", row.record.subscription.id) for row in listing.rows]
        return View("topic.html", values, accessed=accessed)

    async def edit(self, request: PageRequest) -> Answer:
        """The form for a topic, filled with one that exists where the query names it."""
        text = ""
        if topic_id := request.query.get("from", ""):
            topic = self._topics.find(request.principal, topic_id)
            if topic is None:
                raise NotFound(Issue("not-found", f"There is no topic {topic_id!r}. Choose one of the list."))
            text = json_text.indented(topic.document).decode()
        return View("topic_form.html", _form(text))

    async def try_out(self, request: PageRequest) -> Answer:
        """What is wrong with the pasted topic, and which of the last changes it fires on; stores nothing."""
        text, resource = _pasted(request)
        trial = await self._trials.run(request.principal, resource)
        values = {
            **_form(text),
            **_words(trial.topic),
            "problems": [_problem(problem) for problem in trial.problems],
            "report": trial.report,
            "replaced": trial.replaced,
        }
        matches = trial.report.matches if trial.report is not None else ()
        accessed = [entity_of(change.current) for change in matches]
        return View("topic_form.html", values, accessed=accessed, detail="dry-run")

    async def save(self, request: PageRequest) -> Answer:
        """Stores the topic under its id, or under a new one."""
        _, resource = _pasted(request)
        topic_id = resource.id or str(uuid.uuid4())
        check_id(topic_id)
        put = await self._topics.put(request.principal, topic_id, resource)
        verb = "created" if put.is_created else "replaced"
        notice = f"The topic is {verb}. Subscriptions can name {put.topic.canonical} now."
        entity = AuditEntity("SubscriptionTopic", put.topic.id, put.version)
        return SeeOther(f"/topics/{put.topic.id}", notice, [entity], verb)


def _words(topic: Topic) -> Mapping[str, Any]:
    return {
        "topic": topic,
        "triggers": triggers_in_words(topic),
        "filters": [
            {"words": offered_filter_in_words(each), "description": each.description or ""}
            for each in topic.filters
        ],
        "shapes": [words for shape in topic.shapes for words in shape_in_words(shape)],
    }


def _form(text: str) -> Mapping[str, Any]:
    """The values of the form before anything was tried."""
    nothing: Sequence[Any] = ()
    return {
        "text": text,
        "topic": None,
        "problems": nothing,
        "report": None,
        "replaced": None,
        "count": DEFAULT_COUNT,
    }


def _pasted(request: PageRequest) -> tuple[str, Resource]:
    text = request.form.get("topic", "").strip()
    if not text:
        raise Malformed(Issue("required", "The topic is missing. Paste a SubscriptionTopic as JSON."))
    return text, Resource(text.encode())


def _problem(problem: TopicProblem) -> Mapping[str, Any]:
    place = "" if problem.location is None else topic_element(problem.location)
    return {"is_error": problem.is_error, "place": place, "text": problem.text}
