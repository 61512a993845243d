"""Reads Subscriptions of R5 into the neutral model, and writes them from it (R-100..R-111)."""

from collections.abc import Mapping
from typing import Any

from broker.clock import to_instant
from broker.fhir import subscription_rules as rules
from broker.fhir.channel_types import system_of
from broker.fhir.element_reader import ElementReader
from broker.fhir.filter_strings import has_prefix
from broker.fhir.modifier_extensions import refuse_modifier_extensions
from broker.fhir.payload_elements import read_elements
from broker.fhir.validation import validate
from broker.model.change import Tenant
from broker.model.json_text import join
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.model.subscription import Channel, ChannelType, Subscription, SubscriptionId

_STRUCTURES = "http://hl7.org/fhir/StructureDefinition/"


def element(name: str) -> str:
    """The FHIRPath of a neutral element in this release; the neutral names are R5's."""
    return f"Subscription.{name}"


def filter_elements(subscription: Subscription) -> list[str]:
    """The FHIRPath of the element that each filter came from."""
    return [f"Subscription.filterBy[{n}]" for n in range(len(subscription.filters))]


def type_name(uri: str) -> str:
    """`Observation` of `Observation` or of its StructureDefinition's URL (R-020)."""
    return uri.removeprefix(_STRUCTURES)


def _filter(reader: ElementReader) -> Filter:
    parameter = reader.string("filterParameter", required=True) or ""
    value = reader.string("value", required=True) or ""
    modifier = reader.string("modifier")
    code = reader.string("comparator")
    comparator = None
    if code is not None:
        try:
            comparator = Comparator(code)
        except ValueError:
            reader.refuse(
                "value", f"{code!r} is not a comparator; use one of {', '.join(Comparator)}", "comparator"
            )
        if modifier is not None:
            reader.refuse(
                "invariant", "scr-1: a filter may have a comparator or a modifier, not both", "modifier"
            )
        if has_prefix(value):
            reader.refuse(
                "invalid", f"the value {value!r} has a prefix beside the comparator; use one of them", "value"
            )
    if ":" in parameter:
        reader.refuse("invalid", "a modifier goes into `modifier`, not after a colon", "filterParameter")
    resource_type = reader.string("resourceType")
    return Filter(parameter, value, comparator, modifier, type_name(resource_type) if resource_type else None)


def _channel(root: ElementReader, version: str) -> Channel:
    coding = root.object("channelType", required=True)
    content_type = root.string("contentType") or "application/fhir+json"
    rules.check_fhir_version(root, content_type, version, "contentType")
    timeout = rules.at_most(root, "timeout", root.integer("timeout"), rules.MAX_TIMEOUT_S)
    return Channel(
        type=ChannelType(coding.string("code", required=True) or "", coding.string("system")),
        endpoint=root.string("endpoint"),
        headers=tuple(
            (header.string("name", required=True) or "", header.string("value", required=True) or "")
            for header in root.objects("parameter")
        ),
        content_type=content_type,
        content=rules.content(root, root.string("content"), "content"),
        heartbeat_s=rules.at_most(
            root, "heartbeatPeriod", root.integer("heartbeatPeriod"), rules.MAX_HEARTBEAT_S
        ),
        timeout_s=timeout or None,
        max_count=rules.at_most(root, "maxCount", root.integer("maxCount", minimum=1), rules.MAX_COUNT),
    )


def parse_subscription(resource: Resource, *, version: str, tenant: Tenant, id: str) -> Subscription:
    """Raises `Malformed` or `Unprocessable`, the latter with one issue per problem."""
    validate(Release.R5, "Subscription", resource)
    root = ElementReader(resource.fields, "Subscription")
    refuse_modifier_extensions(root, resource.text)
    subscription = Subscription(
        tenant=tenant,
        id=SubscriptionId(id),
        release=Release.R5,
        status=rules.submitted_status(root),
        topic=root.string("topic", required=True) or "",
        filters=tuple(_filter(each) for each in root.objects("filterBy")),
        channel=_channel(root, version),
        document=resource.text,
        end_ms=rules.end_ms(root),
        name=root.string("name"),
        reason=root.string("reason"),
        elements=read_elements(root, Release.R5),
    )
    root.finish()
    return subscription


def with_defaults(document: Resource) -> Resource:
    """The document with the values that the broker chose for absent elements (R-110)."""
    defaults = {"contentType": b'"application/fhir+json"', "content": b'"empty"'}
    return Resource(join(defaults | document.members))


def render_subscription(subscription: Subscription) -> dict[str, Any]:
    """The document of a subscription that was registered in R4 or R4B, without id, version and status."""
    channel = subscription.channel
    optional: Mapping[str, Any] = {
        "name": subscription.name,
        "reason": subscription.reason,
        "endpoint": channel.endpoint,
        "heartbeatPeriod": channel.heartbeat_s,
        "timeout": channel.timeout_s,
        "maxCount": channel.max_count,
        "end": None if subscription.end_ms is None else to_instant(subscription.end_ms),
        "filterBy": [_render_filter(each) for each in subscription.filters] or None,
        "parameter": [{"name": name, "value": value} for name, value in channel.headers] or None,
    }
    return {
        "resourceType": "Subscription",
        "topic": subscription.topic,
        "channelType": {"system": system_of(channel.type), "code": channel.type.code},
        "contentType": channel.content_type,
        "content": channel.content,
    } | {name: value for name, value in optional.items() if value is not None}


def _render_filter(filter: Filter) -> dict[str, str]:
    optional = {
        "resourceType": filter.resource_type,
        "comparator": filter.comparator,
        "modifier": filter.modifier,
    }
    return {"filterParameter": filter.parameter, "value": filter.value} | {
        name: value for name, value in optional.items() if value is not None
    }
