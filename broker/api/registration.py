"""May this Subscription be accepted? Every problem is told at once, each naming its element (R-170..R-176)."""

from dataclasses import replace

from broker.api.responses import Call
from broker.errors import Issue, Unprocessable
from broker.fhir.conversion import can_convert
from broker.matching.registration import check_filters
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.topic import Topic, TopicStatus

_SYSTEMS = {
    None,
    "http://terminology.hl7.org/CodeSystem/subscription-channel-type",
    "http://fhir-broker.org/channel-types",
}


def accept(call: Call, draft: Subscription) -> Subscription:
    """The subscription bound to its topic version; raises `Unprocessable`."""
    topic, issues = _topic(call, draft)
    issues += _channel(call, draft)
    if topic is not None:
        places = call.adapter.filter_places(draft)
        context = call.services.catalog.search_context(call.services.bases)
        issues += [
            Issue(problem.refusal, problem.text, places[problem.index])
            for problem in check_filters(draft, topic, context)
        ]
        issues += _content(call, draft, topic)
    if issues or topic is None:
        raise Unprocessable(*issues)
    status = draft.status
    if (
        status is SubscriptionStatus.REQUESTED
        and not call.services.channels[draft.channel.type.code].is_pushed
    ):
        status = SubscriptionStatus.ACTIVE
    return replace(draft, topic_canonical=topic.canonical, status=status)


def _topic(call: Call, draft: Subscription) -> tuple[Topic | None, list[Issue]]:
    where = call.adapter.element("topic")
    topic = call.services.catalog.resolve(draft.topic)
    if topic is None:
        text = (
            f"the topic {draft.topic} is not known; {call.url(call.adapter.topic_type)} lists those that are"
        )
        return None, [Issue("not-supported", text, where)]
    if topic.status is not TopicStatus.ACTIVE:
        return topic, [Issue("not-supported", f"the topic {topic.canonical} is {topic.status}", where)]
    return topic, []


def _channel(call: Call, draft: Subscription) -> list[Issue]:
    kind = draft.channel.type
    channel = call.services.channels.get(kind.code)
    if channel is None or kind.system not in _SYSTEMS:
        offered = ", ".join(call.services.channels)
        text = f"the channel {kind.code!r} is not supported; {offered} is"
        return [Issue("not-supported", text, call.adapter.element("channelType"))]
    return [
        replace(issue, expression=call.adapter.element(issue.expression) if issue.expression else None)
        for issue in channel.check(draft.channel)
    ]


def _content(call: Call, draft: Subscription, topic: Topic) -> list[Issue]:
    """Full resources only where each focus can be written in the subscriber's release."""
    if draft.channel.content is not PayloadContent.FULL_RESOURCE:
        return []
    missing = [
        f"{kind} from {source} to {draft.release}"
        for kind in sorted(topic.focus_types)
        for source in Release
        if not can_convert(kind, source, draft.release)
    ]
    if not missing:
        return []
    text = f"full-resource needs a conversion of {'; '.join(missing)}, which there is not; ask for id-only"
    return [Issue("not-supported", text, call.adapter.element("content"))]
