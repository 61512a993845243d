"""Subscriptions of R5: read into the neutral shape, and written from it (R-100..R-111)."""

from collections.abc import Mapping
from typing import Any

from broker.clock import to_instant
from broker.fhir import subscription_rules as rules
from broker.fhir.documents import join, members, parse
from broker.fhir.elements import Elements
from broker.fhir.filter_strings import has_prefix
from broker.fhir.ownership import refuse_modifiers
from broker.fhir.validation import validate
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.search import Comparator, Filter
from broker.model.subscription import Channel, ChannelType, Subscription, SubscriptionId

CHANNEL_TYPES = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
_STRUCTURES = "http://hl7.org/fhir/StructureDefinition/"


def element(name: str) -> str:
    """The place of a neutral element in this release; the neutral names are R5's."""
    return f"Subscription.{name}"


def filter_places(subscription: Subscription) -> list[str]:
    """The element each filter came from."""
    return [f"Subscription.filterBy[{n}]" for n in range(len(subscription.filters))]


def type_name(uri: str) -> str:
    """`Observation` of `Observation` or of its StructureDefinition's URL (R-020)."""
    return uri.removeprefix(_STRUCTURES)


def _filter(elements: Elements) -> Filter:
    parameter = elements.text("filterParameter", required=True) or ""
    value = elements.text("value", required=True) or ""
    modifier = elements.text("modifier")
    given = elements.text("comparator")
    comparator = None
    if given is not None:
        try:
            comparator = Comparator(given)
        except ValueError:
            elements.refuse("value", f"{given!r} is none of {', '.join(Comparator)}", "comparator")
        if modifier is not None:
            elements.refuse(
                "invariant", "scr-1: a filter has a comparator or a modifier, not both", "modifier"
            )
        if has_prefix(value):
            elements.refuse(
                "invalid", f"both the comparator and the value {value!r} say how to compare", "value"
            )
    if ":" in parameter:
        elements.refuse("invalid", "a modifier goes into `modifier`, not behind a colon", "filterParameter")
    kind = elements.text("resourceType")
    return Filter(parameter, value, comparator, modifier, type_name(kind) if kind else None)


def _channel(root: Elements, version: str) -> Channel:
    coding = root.object("channelType", required=True)
    content_type = root.text("contentType") or "application/fhir+json"
    rules.check_version(root, content_type, version, "contentType")
    timeout = rules.bounded(root, "timeout", root.whole("timeout"), rules.MAX_TIMEOUT_S)
    return Channel(
        type=ChannelType(coding.text("code", required=True) or "", coding.text("system")),
        endpoint=root.text("endpoint"),
        headers=tuple(
            (one.text("name", required=True) or "", one.text("value", required=True) or "")
            for one in root.objects("parameter")
        ),
        content_type=content_type,
        content=rules.content(root, root.text("content"), "content"),
        heartbeat_s=rules.bounded(
            root, "heartbeatPeriod", root.whole("heartbeatPeriod"), rules.MAX_HEARTBEAT_S
        ),
        timeout_s=timeout or None,
        max_count=rules.bounded(root, "maxCount", root.whole("maxCount", least=1), rules.MAX_COUNT),
    )


def parse_subscription(body: bytes, *, version: str, tenant: Tenant, id: str, now_ms: int) -> Subscription:
    """Raises `Malformed` or `Unprocessable`, the latter with one issue per problem."""
    values = parse(body)
    validate(Release.R5, "Subscription", body)
    root = Elements(values, "Subscription")
    refuse_modifiers(root)
    subscription = Subscription(
        tenant=tenant,
        id=SubscriptionId(id),
        release=Release.R5,
        status=rules.submitted_status(root),
        topic=root.text("topic", required=True) or "",
        filters=tuple(_filter(one) for one in root.objects("filterBy")),
        channel=_channel(root, version),
        document=body,
        end_ms=rules.end_ms(root, now_ms),
        name=root.text("name"),
        reason=root.text("reason"),
    )
    root.finish()
    return subscription


def completed(document: bytes) -> bytes:
    """With what R5 leaves open filled in, so that the client sees what it got (R-110)."""
    defaults = {"contentType": b'"application/fhir+json"', "content": b'"empty"'}
    return join(defaults | members(document))


def render_subscription(subscription: Subscription) -> dict[str, Any]:
    """The document of a subscription registered in another release; id, meta and status are the caller's to add."""
    channel = subscription.channel
    optional: Mapping[str, Any] = {
        "name": subscription.name,
        "reason": subscription.reason,
        "endpoint": channel.endpoint,
        "heartbeatPeriod": channel.heartbeat_s,
        "timeout": channel.timeout_s,
        "maxCount": channel.max_count,
        "end": None if subscription.end_ms is None else to_instant(subscription.end_ms),
        "filterBy": [_render_filter(one) for one in subscription.filters] or None,
        "parameter": [{"name": name, "value": value} for name, value in channel.headers] or None,
    }
    return {
        "resourceType": "Subscription",
        "topic": subscription.topic,
        "channelType": {"system": channel.type.system or CHANNEL_TYPES, "code": channel.type.code},
        "contentType": channel.content_type,
        "content": channel.content,
    } | {name: value for name, value in optional.items() if value is not None}


def _render_filter(one: Filter) -> dict[str, str]:
    optional = {"resourceType": one.resource_type, "comparator": one.comparator, "modifier": one.modifier}
    return {"filterParameter": one.parameter, "value": one.value} | {
        name: value for name, value in optional.items() if value is not None
    }
