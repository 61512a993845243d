"""Subscriptions of R4 and R4B by the Subscriptions R5 Backport profile: read into the neutral shape, and written from it.

Each extension has exactly one place (R-122..R-132); one that is misplaced or unknown is refused (R-081).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.clock import to_instant
from broker.fhir import ownership
from broker.fhir import subscription_rules as rules
from broker.fhir.documents import parse
from broker.fhir.elements import Elements
from broker.fhir.filter_strings import parse_filter_string, render_filter_string
from broker.fhir.validation import validate
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.subscription import Channel, ChannelType, Subscription, SubscriptionId

BASE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
PROFILE = BASE + "backport-subscription"
FILTER = BASE + "backport-filter-criteria"
HEARTBEAT = BASE + "backport-heartbeat-period"
TIMEOUT = BASE + "backport-timeout"
MAX_COUNT = BASE + "backport-max-count"
CHANNEL_TYPE = BASE + "backport-channel-type"
CONTENT = BASE + "backport-payload-content"

_WHOLE = ("valueUnsignedInt", "valuePositiveInt", "valueInteger")

ELEMENTS: Mapping[str, str] = {
    "topic": "criteria",
    "channelType": "channel.type",
    "endpoint": "channel.endpoint",
    "contentType": "channel.payload",
    "content": f"channel.payload.extension('{CONTENT}')",
    "parameter": "channel.header",
}


def element(name: str) -> str:
    """The place of a neutral element, e.g. `parameter[1]`, in this release."""
    plain, bracket, index = name.partition("[")
    return f"Subscription.{ELEMENTS.get(plain, plain)}{bracket}{index}"


def filter_places(subscription: Subscription) -> list[str]:
    """The element each filter came from."""
    return [place for place, _ in _filter_terms(Elements(parse(subscription.document), "Subscription"))]


def _extensions(elements: Elements, allowed: set[str]) -> dict[str, Elements]:
    found: dict[str, Elements] = {}
    for extension in elements.objects("extension"):
        url = extension.text("url", required=True)
        if url is None:
            continue
        if url not in allowed:
            extension.refuse("not-supported", f"the extension {url} is not known here", "url")
        elif url in found and url != FILTER:
            extension.refuse("structure", f"the extension {url} may stand here once", "url")
        else:
            found[url] = extension
    return found


def _filter_terms(criteria: Elements) -> Iterator[tuple[str, Filter]]:
    sibling = criteria.object("_criteria")
    for n, extension in enumerate(sibling.objects("extension")):
        if extension.values.get("url") != FILTER:
            continue
        place = f"Subscription.criteria.extension[{n}].value"
        text = extension.text("valueString", required=True)
        if text is None:
            continue
        try:
            for one in parse_filter_string(text):
                yield place, one
        except ValueError as error:
            extension.refuse("invalid", f"the filter can't be read: {error}", "value")


def _headers(channel: Elements) -> tuple[tuple[str, str], ...]:
    headers = []
    for n, line in enumerate(channel.texts("header")):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            channel.refuse("invalid", f"{channel.path}.header[{n}] is not `Name: value`", f"header[{n}]")
        headers.append((name.strip(), value.strip()))
    return tuple(headers)


def _channel(root: Elements, version: str) -> Channel:
    channel = root.object("channel", required=True)
    plain = channel.text("type", required=True) or ""
    kind = ChannelType(plain)
    custom = _extensions(channel.object("_type"), {CHANNEL_TYPE}).get(CHANNEL_TYPE)
    if custom is not None:
        coding = custom.object("valueCoding", required=True)
        kind = ChannelType(coding.text("code", required=True) or "", coding.text("system"))
    settings = _extensions(channel, {HEARTBEAT, TIMEOUT, MAX_COUNT})
    payload = _extensions(channel.object("_payload"), {CONTENT})
    content_type = channel.text("payload", required=True) or "application/fhir+json"
    rules.check_version(channel, content_type, version, "payload")
    level = payload[CONTENT].text("valueCode", required=True) if CONTENT in payload else None
    if CONTENT not in payload and channel.has("payload"):
        channel.refuse(
            "required", f"the payload content is missing: extension {CONTENT} on channel.payload", "payload"
        )

    def setting(url: str, name: str, most: int, least: int = 0) -> int | None:
        extension = settings.get(url)
        if extension is None:
            return None
        # the other integer types say the same number; an extension without one must not pass for absent
        written = next((one for one in _WHOLE if extension.has(one)), name)
        if not extension.has(written):
            extension.refuse("required", f"the extension {url} needs a {name}", name)
        return rules.bounded(extension, written, extension.whole(written, least=least), most)

    return Channel(
        type=kind,
        endpoint=channel.text("endpoint"),
        headers=_headers(channel),
        content_type=content_type,
        content=rules.content(channel, level, "payload"),
        heartbeat_s=setting(HEARTBEAT, "valueUnsignedInt", rules.MAX_HEARTBEAT_S),
        timeout_s=setting(TIMEOUT, "valueUnsignedInt", rules.MAX_TIMEOUT_S) or None,
        max_count=setting(MAX_COUNT, "valuePositiveInt", rules.MAX_COUNT, 1),
    )


def parse_subscription(
    body: bytes, *, release: Release, version: str, tenant: Tenant, id: str, now_ms: int
) -> Subscription:
    """Raises `Malformed` or `Unprocessable`, the latter with one issue per problem."""
    values = parse(body)
    validate(release, "Subscription", body)
    root = Elements(values, "Subscription")
    ownership.refuse_modifiers(root)
    status = rules.submitted_status(root)
    topic = root.text("criteria", required=True) or ""
    if topic and not topic.startswith(("http://", "https://", "urn:")):
        root.refuse(
            "not-supported",
            "criteria holds the canonical URL of a topic; queries are not supported",
            "criteria",
        )
    _extensions(root.object("_criteria"), {FILTER})
    filters = tuple(one for _, one in _filter_terms(root))
    channel = _channel(root, version)
    subscription = Subscription(
        tenant=tenant,
        id=SubscriptionId(id),
        release=release,
        status=status,
        topic=topic,
        filters=filters,
        channel=channel,
        document=body,
        end_ms=rules.end_ms(root, now_ms),
        name=ownership.crossed_name(values),
        reason=root.text("reason", required=True),
    )
    root.finish()
    return subscription


def render_subscription(subscription: Subscription) -> dict[str, Any]:
    """The document of a subscription registered in another release; id, meta and status are the caller's to add."""
    channel = subscription.channel
    custom = channel.type.code not in {"rest-hook", "websocket", "email", "message"}
    settings = (
        (HEARTBEAT, "valueUnsignedInt", channel.heartbeat_s),
        (TIMEOUT, "valueUnsignedInt", channel.timeout_s),
        (MAX_COUNT, "valuePositiveInt", channel.max_count),
    )
    document: dict[str, Any] = {
        "resourceType": "Subscription",
        "meta": {"profile": [PROFILE]},
        "reason": subscription.reason or subscription.name or "not given",
        "criteria": subscription.topic,
        "channel": {
            "type": "rest-hook" if custom else channel.type.code,
            "payload": channel.content_type,
            "_payload": {"extension": [{"url": CONTENT, "valueCode": channel.content}]},
        },
    }
    if custom:
        coding = {"code": channel.type.code} | (
            {"system": channel.type.system} if channel.type.system else {}
        )
        document["channel"]["_type"] = {"extension": [{"url": CHANNEL_TYPE, "valueCoding": coding}]}
    if subscription.filters:
        document["_criteria"] = {
            "extension": [
                {"url": FILTER, "valueString": render_filter_string(one)} for one in subscription.filters
            ]
        }
    extensions = [{"url": url, name: value} for url, name, value in settings if value is not None]
    if extensions:
        document["channel"]["extension"] = extensions
    if channel.endpoint:
        document["channel"]["endpoint"] = channel.endpoint
    if channel.headers:
        document["channel"]["header"] = [f"{name}: {value}" for name, value in channel.headers]
    if subscription.end_ms is not None:
        document["end"] = to_instant(subscription.end_ms)
    return document
