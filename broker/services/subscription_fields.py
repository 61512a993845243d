"""The search parameters of Subscription in each release, over the neutral model (R-388, R-389)."""

from collections.abc import Iterator, Mapping

from broker.clock import to_instant
from broker.fhir.channel_types import system_of
from broker.fhir.filter_strings import render_filter_string
from broker.fhir.json_values import objects
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import ParameterType
from broker.model.subscription import Subscription
from broker.services.search import Fields, SearchField

_TOKEN, _STRING, _URI = ParameterType.TOKEN, ParameterType.STRING, ParameterType.URI
_DATE, _REFERENCE = ParameterType.DATE, ParameterType.REFERENCE
_CONTENTS = "http://hl7.org/fhir/subscription-payload-content"
_BACKPORT_CONTENTS = "http://hl7.org/fhir/uv/subscriptions-backport/CodeSystem/backport-content-code-system"
_STATUSES = "http://hl7.org/fhir/subscription-status"


def _identifiers(subscription: Subscription) -> Iterator[str]:
    document = Resource(subscription.document).fields
    in_extensions = tuple(
        extension.get("valueIdentifier") for extension in objects(document.get("extension"))
    )
    for identifier in objects(document.get("identifier") or in_extensions):
        if identifier.get("value"):
            yield f"{identifier.get('system', '')}|{identifier['value']}"


def _contacts(subscription: Subscription) -> Iterator[str]:
    for contact in Resource(subscription.document).fields.get("contact", ()):
        if contact.get("value"):
            yield f"{contact.get('system', '')}|{contact['value']}"


def _topics(subscription: Subscription) -> Iterator[str]:
    """As written and as bound, with and without the version: a search without a version finds any."""
    for canonical in (subscription.topic, subscription.topic_canonical):
        yield from (canonical, canonical.partition("|")[0])


def _channel_type(subscription: Subscription) -> Iterator[str]:
    channel_type = subscription.channel.type
    yield f"{system_of(channel_type)}|{channel_type.code}"


def _managing_entity(subscription: Subscription) -> Iterator[str | None]:
    yield Resource(subscription.document).fields.get("managingEntity", {}).get("reference")


_COMMON: Fields[Subscription] = {
    "_id": SearchField(_TOKEN, lambda subscription: [subscription.id]),
    "_lastUpdated": SearchField(_DATE, lambda subscription: [to_instant(subscription.updated_ms)]),
    "contact": SearchField(_TOKEN, _contacts),
    "identifier": SearchField(_TOKEN, _identifiers),
    "payload": SearchField(_TOKEN, lambda subscription: [subscription.channel.content_type]),
    "status": SearchField(_TOKEN, lambda subscription: [f"{_STATUSES}|{subscription.status}"]),
    "topic": SearchField(_URI, _topics, is_stored=True),
    "type": SearchField(_TOKEN, _channel_type),
    "url": SearchField(_URI, lambda subscription: [subscription.channel.endpoint], is_stored=True),
}
_R5: Fields[Subscription] = {
    **_COMMON,
    "content-level": SearchField(
        _TOKEN, lambda subscription: [f"{_CONTENTS}|{subscription.channel.content}"]
    ),
    "filter-value": SearchField(
        _STRING, lambda subscription: [wanted.value for wanted in subscription.filters]
    ),
    "name": SearchField(_STRING, lambda subscription: [subscription.name]),
    "owner": SearchField(_REFERENCE, _managing_entity),
}
_BACKPORT: Fields[Subscription] = {
    **_COMMON,
    "criteria": SearchField(_STRING, lambda subscription: [subscription.topic]),
    "custom-channel": SearchField(_TOKEN, _channel_type),
    "filter-criteria": SearchField(
        _STRING, lambda subscription: [render_filter_string(wanted) for wanted in subscription.filters]
    ),
    "payload-type": SearchField(
        _TOKEN, lambda subscription: [f"{_BACKPORT_CONTENTS}|{subscription.channel.content}"]
    ),
}
SUBSCRIPTION_FIELDS: Mapping[Release, Fields[Subscription]] = {
    Release.R4: _BACKPORT,
    Release.R4B: _BACKPORT,
    Release.R5: _R5,
}
