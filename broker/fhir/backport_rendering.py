"""Writes a neutral subscription as an R4 or R4B Subscription by the Subscriptions R5 Backport guide."""

from typing import Any

from broker.clock import to_instant
from broker.fhir.backport_urls import (
    CHANNEL_TYPE,
    CONTENT,
    FILTER,
    HEARTBEAT,
    MAX_COUNT,
    PROFILE,
    TIMEOUT,
)
from broker.fhir.channel_types import R4_CODES, R4_PLACEHOLDER, system_of
from broker.fhir.filter_strings import render_filter_string
from broker.model.subscription import ChannelType, Subscription


def channel_type_members(channel_type: ChannelType) -> dict[str, Any]:
    """`channel.type`, with the extension for a channel that R4 and R4B have no code for (R-127)."""
    if channel_type.code in R4_CODES:
        return {"type": channel_type.code}
    coding = {"system": system_of(channel_type), "code": channel_type.code}
    return {
        "type": R4_PLACEHOLDER,
        "_type": {"extension": [{"url": CHANNEL_TYPE, "valueCoding": coding}]},
    }


def render_subscription(subscription: Subscription) -> dict[str, Any]:
    """The document of a subscription that was registered in R5, without id, version and status."""
    channel = subscription.channel
    rendered: dict[str, Any] = {
        **channel_type_members(channel.type),
        "payload": channel.content_type,
        "_payload": {"extension": [{"url": CONTENT, "valueCode": channel.content}]},
    }
    settings = (
        (HEARTBEAT, "valueUnsignedInt", channel.heartbeat_s),
        (TIMEOUT, "valueUnsignedInt", channel.timeout_s),
        (MAX_COUNT, "valuePositiveInt", channel.max_count),
    )
    extensions = [{"url": url, name: value} for url, name, value in settings if value is not None]
    if extensions:
        rendered["extension"] = extensions
    if channel.endpoint:
        rendered["endpoint"] = channel.endpoint
    if channel.headers:
        rendered["header"] = [f"{name}: {value}" for name, value in channel.headers]
    document: dict[str, Any] = {
        "resourceType": "Subscription",
        "meta": {"profile": [PROFILE]},
        "reason": subscription.reason or subscription.name or "not given",
        "criteria": subscription.topic,
        "channel": rendered,
    }
    if subscription.filters:
        filters = [
            {"url": FILTER, "valueString": render_filter_string(each)} for each in subscription.filters
        ]
        document["_criteria"] = {"extension": filters}
    if subscription.end_ms is not None:
        document["end"] = to_instant(subscription.end_ms)
    return document
