"""Reads Subscriptions of R4 and R4B into the neutral model, by the Subscriptions R5 Backport guide.

Each extension has exactly one place (R-122..R-132); one that is misplaced or unknown is refused (R-081).
`backport_rendering.py` writes them.
"""

from collections.abc import Iterator, Mapping

import orjson

from broker.fhir import subscription_rules as rules
from broker.fhir.backport_rendering import channel_type_members
from broker.fhir.backport_urls import CHANNEL_TYPE, CONTENT, FILTER, HEARTBEAT, MAX_COUNT, TIMEOUT
from broker.fhir.channel_types import R4_CODES
from broker.fhir.cross_release_subscriptions import r5_name
from broker.fhir.element_reader import ElementReader
from broker.fhir.filter_strings import parse_filter_string
from broker.fhir.modifier_extensions import refuse_modifier_extensions
from broker.fhir.payload_elements import read_elements
from broker.fhir.validation import validate
from broker.model import json_text
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Filter
from broker.model.subscription import Channel, ChannelType, Subscription, SubscriptionId

_INTEGER_VALUES = ("valueUnsignedInt", "valuePositiveInt", "valueInteger")

_ELEMENTS: Mapping[str, str] = {
    "topic": "criteria",
    "channelType": "channel.type",
    "endpoint": "channel.endpoint",
    "contentType": "channel.payload",
    "content": f"channel.payload.extension('{CONTENT}')",
    "parameter": "channel.header",
}


def element(name: str) -> str:
    """The FHIRPath of a neutral element, e.g. `parameter[1]`, in this release."""
    plain, bracket, index = name.partition("[")
    return f"Subscription.{_ELEMENTS.get(plain, plain)}{bracket}{index}"


def filter_elements(subscription: Subscription) -> list[str]:
    """The FHIRPath of the element that each filter came from."""
    reader = ElementReader(Resource(subscription.document).fields, "Subscription")
    return [path for path, _ in _filters(reader)]


def _extensions(reader: ElementReader, allowed: set[str]) -> dict[str, ElementReader]:
    extensions: dict[str, ElementReader] = {}
    for extension in reader.objects("extension"):
        url = extension.string("url", required=True)
        if url is None:
            continue
        if url not in allowed:
            extension.refuse("not-supported", f"the extension {url} is not supported here", "url")
        elif url in extensions and url != FILTER:
            extension.refuse("structure", f"the extension {url} is allowed once here", "url")
        else:
            extensions[url] = extension
    return extensions


def _filters(criteria: ElementReader) -> Iterator[tuple[str, Filter]]:
    """Each filter, with the element it came from."""
    for n, extension in enumerate(criteria.object("_criteria").objects("extension")):
        if extension.fields.get("url") != FILTER:
            continue
        path = f"Subscription.criteria.extension[{n}].value"
        text = extension.string("valueString", required=True)
        if text is None:
            continue
        try:
            for parsed in parse_filter_string(text):
                yield path, parsed
        except ValueError as error:
            extension.refuse("invalid", f"the filter can't be read: {error}", "value")


def _headers(channel: ElementReader) -> tuple[tuple[str, str], ...]:
    headers = []
    for n, line in enumerate(channel.strings("header")):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            channel.refuse("invalid", f"{channel.path}.header[{n}] must be `Name: value`", f"header[{n}]")
        headers.append((name.strip(), value.strip()))
    return tuple(headers)


def _channel(root: ElementReader, version: str) -> Channel:
    channel = root.object("channel", required=True)
    channel_type = ChannelType(channel.string("type", required=True) or "")
    custom = _extensions(channel.object("_type"), {CHANNEL_TYPE}).get(CHANNEL_TYPE)
    if custom is not None:
        coding = custom.object("valueCoding", required=True)
        channel_type = ChannelType(coding.string("code", required=True) or "", coding.string("system"))
    settings = _extensions(channel, {HEARTBEAT, TIMEOUT, MAX_COUNT})
    payload = _extensions(channel.object("_payload"), {CONTENT})
    content_type = channel.string("payload", required=True) or "application/fhir+json"
    rules.check_fhir_version(channel, content_type, version, "payload")
    level = payload[CONTENT].string("valueCode", required=True) if CONTENT in payload else None
    if CONTENT not in payload and channel.has("payload"):
        channel.refuse(
            "required", f"the payload content is missing: extension {CONTENT} on channel.payload", "payload"
        )

    def setting(url: str, name: str, maximum: int, minimum: int = 0) -> int | None:
        extension = settings.get(url)
        if extension is None:
            return None
        # the other integer types mean the same; an extension without a value is not the same as no extension
        value_name = next((each for each in _INTEGER_VALUES if extension.has(each)), name)
        if not extension.has(value_name):
            extension.refuse("required", f"the extension {url} needs a {name}", name)
        value = extension.integer(value_name, minimum=minimum)
        return rules.at_most(extension, value_name, value, maximum)

    return Channel(
        type=channel_type,
        endpoint=channel.string("endpoint"),
        headers=_headers(channel),
        content_type=content_type,
        content=rules.content(channel, level, "payload"),
        heartbeat_s=setting(HEARTBEAT, "valueUnsignedInt", rules.MAX_HEARTBEAT_S),
        timeout_s=setting(TIMEOUT, "valueUnsignedInt", rules.MAX_TIMEOUT_S) or None,
        max_count=setting(MAX_COUNT, "valuePositiveInt", rules.MAX_COUNT, 1),
    )


def _document(resource: Resource, channel_type: ChannelType) -> bytes:
    """The text; a channel that was written as a code outside the binding of `channel.type` moves into the
    extension.
    """
    if resource.fields["channel"]["type"] in R4_CODES:
        return resource.text
    members = resource.members
    channel = json_text.members(members["channel"])
    valid = {name: orjson.dumps(value) for name, value in channel_type_members(channel_type).items()}
    return json_text.join(members | {"channel": json_text.join(channel | valid)})


def parse_subscription(
    resource: Resource, *, release: Release, version: str, tenant: Tenant, id: str
) -> Subscription:
    """Raises `Malformed` or `Unprocessable`, the latter with one issue per problem."""
    validate(release, "Subscription", resource)
    root = ElementReader(resource.fields, "Subscription")
    refuse_modifier_extensions(root, resource.text)
    status = rules.submitted_status(root)
    topic = root.string("criteria", required=True) or ""
    if topic and not topic.startswith(("http://", "https://", "urn:")):
        root.refuse(
            "not-supported",
            "criteria must be the canonical URL of a topic; search queries are not supported",
            "criteria",
        )
    _extensions(root.object("_criteria"), {FILTER})
    filters = tuple(parsed for _, parsed in _filters(root))
    channel = _channel(root, version)
    elements = read_elements(root, release)
    end_ms = rules.end_ms(root)
    reason = root.string("reason", required=True)
    root.finish()
    return Subscription(
        tenant=tenant,
        id=SubscriptionId(id),
        release=release,
        status=status,
        topic=topic,
        filters=filters,
        channel=channel,
        document=_document(resource, channel.type),
        end_ms=end_ms,
        name=r5_name(resource),
        reason=reason,
        elements=elements,
    )
