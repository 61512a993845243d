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
from broker.fhir.filter_strings import render_filter_string
from broker.model.subscription import Subscription

_CHANNEL_CODES = frozenset({"rest-hook", "websocket", "email", "message"})
"""The codes that R4's `channel.type` may have; others go into an extension."""


def render_subscription(subscription: Subscription) -> dict[str, Any]:
    """The document of a subscription that was registered in R5, without id, version and status."""
    channel = subscription.channel
    is_custom = channel.type.code not in _CHANNEL_CODES
    rendered: dict[str, Any] = {
        "type": "rest-hook" if is_custom else channel.type.code,
        "payload": channel.content_type,
        "_payload": {"extension": [{"url": CONTENT, "valueCode": channel.content}]},
    }
    if is_custom:
        system = {"system": channel.type.system} if channel.type.system else {}
        coding = {"code": channel.type.code} | system
        rendered["_type"] = {"extension": [{"url": CHANNEL_TYPE, "valueCoding": coding}]}
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
