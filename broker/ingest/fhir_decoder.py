"""The decoder of entries with a FHIR resource: the contract of the inbox stream.

Fields: `resource` (JSON, required), `interaction` (create, update or delete; default create), `release`
(default r4), `tenant`, `key` (idempotency key), and `traceparent` (docs/tracing.md). Without a key the
entry's id is the key, so an entry that is read again after a crash is one change.

A Bundle of type transaction is processed as a transaction; other Bundles are refused, and so are
Subscriptions and topics, which are registered over HTTP. Preconditions exist in the entries of a transaction
only: an entry with a field for one is refused like every unknown field.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir import basic_topics
from broker.fhir.release import adapter
from broker.ingest.bundle_decoder import FRAMEWORK_TYPES, decode_transaction
from broker.ingest.decoder import Entry, Transaction
from broker.ingest.requests import ChangeRequest
from broker.model import json_text
from broker.model.audit import Requester
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Interaction, Tenant
from broker.model.release import Release
from broker.model.resource import Resource

Code = TypeVar("Code", Interaction, Release)
_FIELDS = frozenset({"resource", "interaction", "release", "tenant", "key", "traceparent"})
_OPS: Mapping[Interaction, Literal["create", "put", "delete"]] = {
    Interaction.CREATE: "create",
    Interaction.UPDATE: "put",
    Interaction.DELETE: "delete",
}


INBOX = Requester("fhir:inbox")
"""Who writes what comes through the inbox stream: the store does not say which gateway it was."""


class FhirDecoder:
    """`broker.ingest.decoder.Decoder` of the inbox stream: each entry is one change or a transaction."""

    def decode(self, entry: Entry) -> Sequence[ChangeRequest] | Transaction:
        unknown = set(entry.fields) - _FIELDS
        if unknown:
            text = f"unknown field {min(unknown)!r}; the fields are {', '.join(sorted(_FIELDS))}"
            raise Malformed(Issue("structure", text))
        text_of_resource = entry.fields.get("resource")
        if not text_of_resource:
            text = "the field `resource` (FHIR JSON) or `reading` (a payload of a device) is missing"
            raise Malformed(Issue("required", text, "resource"))
        resource = Resource(text_of_resource, json_text.decode_received)
        interaction = _code(entry, "interaction", Interaction, Interaction.CREATE)
        release = _code(entry, "release", Release, Release.R4)
        tenant = entry.fields.get("tenant", DEFAULT_TENANT.encode()).decode(errors="replace")
        if not TENANT_PATTERN.fullmatch(tenant):
            text = "`tenant` must be 1 to 64 letters, digits, - and _"
            raise Malformed(Issue("value", text, "tenant"))
        resource_type, resource_id = resource.type, resource.id
        if resource_type not in adapter(release).resource_types:
            text = f"{resource_type!r} is not a resource type of {release}"
            raise Unprocessable(Issue("not-supported", text, "resourceType"))
        if resource_type in FRAMEWORK_TYPES or (release is Release.R4 and _is_topic(resource)):
            text = (
                f"A {resource_type} that defines or registers events is not accepted here. Send it over HTTP."
            )
            raise Unprocessable(Issue("not-supported", text, "resourceType"))
        if resource_type == "Bundle" and interaction is not Interaction.CREATE:
            text = f"A Bundle in the inbox is a transaction. Leave the interaction {interaction} out."
            raise Unprocessable(Issue("not-supported", text, "interaction"))
        if interaction is not Interaction.CREATE and not resource_id:
            text = f"the interaction {interaction} needs the id of the resource"
            raise Unprocessable(Issue("required", text, f"{resource_type}.id"))
        key = entry.fields.get("key", b"").decode(errors="replace")
        request = ChangeRequest(
            tenant=Tenant(tenant),
            release=release,
            op=_OPS[interaction],
            type=resource_type,
            id="" if interaction is Interaction.CREATE else resource_id,
            resource=None if interaction is Interaction.DELETE else resource,
            idempotency_key=f"key:{key}" if key else f"entry:{entry.id}",
            requester=INBOX,
        )
        if resource_type == "Bundle":
            return decode_transaction(resource, request)
        return (request,)


def _is_topic(resource: Resource) -> bool:
    return resource.type == "Basic" and basic_topics.is_topic(resource)


def _code(entry: Entry, field: str, codes: type[Code], default: Code) -> Code:
    value = entry.fields.get(field)
    if value is None:
        return default
    try:
        return codes(value.decode())
    except ValueError:
        raise Malformed(Issue("value", f"`{field}` must be one of {', '.join(codes)}", field)) from None
