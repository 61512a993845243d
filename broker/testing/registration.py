"""Builds Subscriptions in the shape of each release, and registers them over HTTP."""

from collections.abc import Sequence
from typing import Any

import httpx

from broker.errors import ConfigurationError

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
R5_IDENTIFIER = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription.identifier"
"""R4 has no element Subscription.identifier; this extension stands for that of R5."""
_JSON = {"Content-Type": "application/fhir+json"}


def subscription(
    release: str,
    topic: str,
    endpoint: str,
    *,
    content: str = "id-only",
    filters: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    max_count: int | None = None,
    heartbeat_s: int | None = None,
    timeout_s: int | None = None,
    identifier: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """A Subscription to `topic`; each filter is `parameter=value` or `parameter:modifier=value`.

    `identifier` is a system and a value, for conditional requests.
    """
    named = {} if identifier is None else {"system": identifier[0], "value": identifier[1]}
    if release == "r5":
        document = _r5(topic, endpoint, content, filters, headers, max_count, heartbeat_s, timeout_s)
        return document | ({"identifier": [named]} if named else {})
    channel: dict[str, Any] = {
        "type": "rest-hook",
        "endpoint": endpoint,
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": f"{BACKPORT}backport-payload-content", "valueCode": content}]},
    }
    settings = (
        ("backport-heartbeat-period", "valueUnsignedInt", heartbeat_s),
        ("backport-timeout", "valueUnsignedInt", timeout_s),
        ("backport-max-count", "valuePositiveInt", max_count),
    )
    extensions = [{"url": BACKPORT + url, name: value} for url, name, value in settings if value is not None]
    if extensions:
        channel["extension"] = extensions
    if headers:
        channel["header"] = [f"{name}: {value}" for name, value in headers]
    document = {
        "resourceType": "Subscription",
        "meta": {"profile": [f"{BACKPORT}backport-subscription"]},
        "status": "requested",
        "reason": "notifications for testing",
        "criteria": topic,
        "channel": channel,
    }
    if named:
        document["extension"] = [{"url": R5_IDENTIFIER, "valueIdentifier": named}]
    if filters:
        url = f"{BACKPORT}backport-filter-criteria"
        document["_criteria"] = {"extension": [{"url": url, "valueString": text} for text in filters]}
    return document


def _r5(
    topic: str,
    endpoint: str,
    content: str,
    filters: Sequence[str],
    headers: Sequence[tuple[str, str]],
    max_count: int | None,
    heartbeat_s: int | None,
    timeout_s: int | None,
) -> dict[str, Any]:
    optional = {"maxCount": max_count, "heartbeatPeriod": heartbeat_s, "timeout": timeout_s}
    document: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": topic,
        "channelType": {
            "system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type",
            "code": "rest-hook",
        },
        "endpoint": endpoint,
        "contentType": "application/fhir+json",
        "content": content,
    }
    if filters:
        document["filterBy"] = [_filter(text) for text in filters]
    if headers:
        document["parameter"] = [{"name": name, "value": value} for name, value in headers]
    return document | {name: value for name, value in optional.items() if value is not None}


def _filter(text: str) -> dict[str, str]:
    name, _, value = text.partition("=")
    parameter, _, modifier = name.partition(":")
    return {"filterParameter": parameter, "value": value} | ({"modifier": modifier} if modifier else {})


async def register_subscription(
    client: httpx.AsyncClient, base: str, document: dict[str, Any]
) -> dict[str, Any]:
    """Returns the accepted Subscription. Raises `ConfigurationError` with the broker's reason if it is
    refused.
    """
    response = await client.post(f"{base}/Subscription", json=document, headers=_JSON)
    if response.status_code != 201:
        try:
            reason = "; ".join(issue["diagnostics"] for issue in response.json()["issue"])
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200]
        raise ConfigurationError(f"The broker refused the subscription ({response.status_code}): {reason}")
    accepted: dict[str, Any] = response.json()
    return accepted
