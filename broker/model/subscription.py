"""A subscription in the form that all FHIR releases share: what registration, matching and delivery use."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType

import msgspec

from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.search import Filter

SubscriptionId = NewType("SubscriptionId", str)
SubscriptionKey = tuple[Tenant, SubscriptionId]
"""Names a subscription among those of all tenants."""


class SubscriptionStatus(StrEnum):
    """R-150."""

    REQUESTED = "requested"
    ACTIVE = "active"
    ERROR = "error"
    OFF = "off"
    ENTERED_IN_ERROR = "entered-in-error"


class PayloadContent(StrEnum):
    """How much of a resource a notification carries (R-240..R-247)."""

    EMPTY = "empty"
    ID_ONLY = "id-only"
    FULL_RESOURCE = "full-resource"


@dataclass(frozen=True, slots=True)
class ChannelType:
    """The channel as a Coding; a backport-channel-type extension replaces the plain code (R-105, R-127)."""

    code: str
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """Where and how notifications are sent.

    `headers` are sent unchanged, repeated names included (R-302). In a Subscription that is stored, each
    value is a mask: `Subscription.sealed_headers` has the values.
    """

    type: ChannelType
    endpoint: str | None
    headers: tuple[tuple[str, str], ...]
    content_type: str
    content: PayloadContent
    heartbeat_s: int | None = None
    timeout_s: int | None = None
    max_count: int | None = None


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """One registered subscription.

    `document` is the Subscription JSON of release `release` as the client sent it, completed with what the
    server assigned (`id`, `meta`, defaults, `status`); what a client PUTs comes back, unknown elements
    included. `topic` is the canonical as written; `topic_canonical` the topic version it was bound to at
    registration (R-013). `owner` is the client id of the principal that created it. `sealed_headers` are
    the values of the headers, sealed (`security/subscription_secrets.py`). `elements` (`Observation.code`)
    limit the resources of their types to these and the mandatory elements.
    """

    tenant: Tenant
    id: SubscriptionId
    release: Release
    status: SubscriptionStatus
    topic: str
    filters: tuple[Filter, ...]
    channel: Channel
    document: bytes
    topic_canonical: str = ""
    version: int = 0
    updated_ms: int = 0
    end_ms: int | None = None
    name: str | None = None
    reason: str | None = None
    error: str | None = None
    owner: str = ""
    sealed_headers: bytes = b""
    elements: tuple[str, ...] = ()

    def changed(self, **elements: Any) -> "Subscription":
        """A copy with other values of these elements."""
        return msgspec.structs.replace(self, **elements)
