"""Composes the requests that write resources to another FHIR server: one request for each resource, or one
transaction Bundle for many.

Pure: no request is sent from here. A resource keeps the spelling of all that is not changed: the `id` where
the server assigns one, `meta.versionId` and `meta.lastUpdated`, references, and the identifier by which the
server finds the resource again. The channel `fhir-write` calls it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

import orjson

from broker.fhir import server_references
from broker.fhir.element_tables import table_of_resource
from broker.fhir.identifiers import IdentifierToken, identifiers
from broker.fhir.json_values import objects
from broker.fhir.server_references import LogicalReference, with_logical_references
from broker.model import json_text
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource
from broker.model.uuids import uuid_of_names

_SPECIAL = str.maketrans({"\\": "\\\\", "|": "\\|", ",": "\\,", "$": "\\$"})
_VERSION_MEMBERS = frozenset({"versionId", "lastUpdated", "_versionId", "_lastUpdated"})


class WriteMode(StrEnum):
    """How a server is asked to create and update a resource."""

    CONDITIONAL_UPDATE = "conditional-update"  # PUT Type?identifier=...: creates or updates
    CONDITIONAL_CREATE = "conditional-create"  # POST with If-None-Exist: creates once, never updates
    UPDATE = "update"  # PUT Type/id: the server takes the ids of the broker


class DeleteMode(StrEnum):
    """What becomes of an event whose resource was deleted."""

    SEND = "send"
    SKIP = "skip"
    REFUSE = "refuse"


class WriteRules(NamedTuple):
    """How resources are written to one server.

    `identifier_system` is the system of an identifier that the broker adds to each resource; '' where the
    server finds resources by the first identifier of their own that has a system.
    """

    release: Release
    mode: WriteMode
    deletes: DeleteMode
    identifier_system: str = ""


class WriteItem(NamedTuple):
    """A resource to write. `number` is that of its event; `resource` is None for a deletion. Without its last
    version, a deletion can be sent only where the id or an identifier of the broker names the resource.
    """

    number: int
    interaction: Interaction
    type: str
    id: str
    resource: Resource | None

    @property
    def reference(self) -> str:
        return f"{self.type}/{self.id}"


class WriteRequest(NamedTuple):
    """One request, relative to the base of the server. `full_url` names it inside a transaction."""

    item: WriteItem
    method: str
    url: str
    full_url: str
    if_none_exist: str = ""
    resource: Resource | None = None


class NotWritable(NamedTuple):
    """Why no request can be made of an item; for the operator."""

    item: WriteItem
    reason: str


class Skipped(NamedTuple):
    """An item that the rules leave out."""

    item: WriteItem


def write_request(item: WriteItem, rules: WriteRules) -> WriteRequest | NotWritable | Skipped:
    """The request for an item, its references as they are. The same item always gives the same request."""
    is_deletion = item.interaction is Interaction.DELETE
    if is_deletion and rules.deletes is not DeleteMode.SEND:
        if rules.deletes is DeleteMode.SKIP:
            return Skipped(item)
        return NotWritable(item, "the resource was deleted, and deletions are not sent to this server")
    reason = "" if is_deletion else _unusable(item.resource)
    if reason:
        return NotWritable(item, reason)
    full_url = f"urn:uuid:{uuid_of_names('write', item.reference)}"
    if rules.mode is WriteMode.UPDATE:
        url = item.reference
        if is_deletion:
            return WriteRequest(item, "DELETE", url, full_url)
        return WriteRequest(item, "PUT", url, full_url, resource=_as_sent(item, rules, keeps_id=True))
    token = key_of(item, rules)
    if token is None:
        return NotWritable(item, "the resource has no identifier with a system, so the server can't find it")
    query = identifier_query(token)
    if is_deletion:
        return WriteRequest(item, "DELETE", f"{item.type}?{query}", full_url)
    resource = _as_sent(item, rules, keeps_id=False)
    if rules.mode is WriteMode.CONDITIONAL_UPDATE:
        return WriteRequest(item, "PUT", f"{item.type}?{query}", full_url, resource=resource)
    if item.interaction is Interaction.UPDATE:
        return NotWritable(item, "the resource was updated, and this server takes only new resources")
    return WriteRequest(item, "POST", item.type, full_url, query, resource)


def is_partial(resource: Resource) -> bool:
    """Whether it has the tag SUBSETTED: an element list left parts of it out."""
    if b"SUBSETTED" not in resource.text and b"\\u" not in resource.text:
        return False
    meta = resource.fields.get("meta")
    tags = objects(meta.get("tag", ())) if isinstance(meta, JsonObject) else ()
    return any(tag.get("code") == "SUBSETTED" for tag in tags)


def identifier_query(*tokens: IdentifierToken) -> str:
    """The search for any of the identifiers, escaped (search.html#escaping) and percent-encoded."""
    escaped = ",".join(
        "|".join(text.translate(_SPECIAL) for text in (token.system or "", token.value)) for token in tokens
    )
    return f"identifier={quote(escaped, safe='')}"


def key_of(item: WriteItem, rules: WriteRules) -> IdentifierToken | None:
    """The identifier by which the server finds the resource; None if there is none."""
    is_list = _identifier_is_list(item.type, rules.release) if rules.identifier_system else False
    if is_list is None:
        return None
    has_one = item.resource is not None and "identifier" in item.resource.fields if not is_list else False
    if not rules.identifier_system or has_one:  # there is room for one identifier, and the resource has it
        return next((token for token in _own(item) if token.system), None)
    return IdentifierToken(rules.identifier_system, item.reference)


def transaction(requests: Sequence[WriteRequest]) -> bytes:
    """The transaction Bundle of the requests, in their order."""
    return json_text.join(
        {
            "resourceType": b'"Bundle"',
            "type": b'"transaction"',
            "entry": b"[" + b",".join(_entry(request) for request in requests) + b"]",
        }
    )


def with_references(
    request: WriteRequest, targets: Mapping[str, str], logical: Mapping[LogicalReference, str]
) -> WriteRequest:
    """The request with the references of its resource replaced: text of the reference -> text to send; and
    with those that were found for logical ones.
    """
    if request.resource is None or not (targets or logical):
        return request
    resource = server_references.with_references(request.resource, targets)
    return request._replace(resource=with_logical_references(resource, logical))


def _entry(request: WriteRequest) -> bytes:
    members = {"fullUrl": orjson.dumps(request.full_url)}
    if request.resource is not None:
        members["resource"] = request.resource.text
    parts = {"method": request.method, "url": request.url}
    if request.if_none_exist:
        parts["ifNoneExist"] = request.if_none_exist
    return json_text.join(members | {"request": orjson.dumps(parts)})


def _as_sent(item: WriteItem, rules: WriteRules, *, keeps_id: bool) -> Resource:
    if item.resource is None:
        raise ValueError("a deletion has no resource")
    members = json_text.members(item.resource.text)
    if not keeps_id:
        members.pop("id", None)
    if "meta" in members:
        meta = json_text.members(members["meta"])
        meta = {name: raw for name, raw in meta.items() if name not in _VERSION_MEMBERS}
        if meta:
            members["meta"] = json_text.join(meta)
        else:
            del members["meta"]
    token = key_of(item, rules) if rules.identifier_system and rules.mode is not WriteMode.UPDATE else None
    if token is not None and token not in _own(item):
        added = orjson.dumps({"system": token.system, "value": token.value})
        if _identifier_is_list(item.type, rules.release):
            listed = json_text.items(members.get("identifier", b"[]"))
            members["identifier"] = b"[" + b",".join([*listed, added]) + b"]"
        else:
            members["identifier"] = added
    return Resource(json_text.join(members))


def _unusable(resource: Resource | None) -> str:
    """Why what the notification has can't be written; '' if it can."""
    if resource is None:
        return "the resource is not stored any more, or can't be converted for the server"
    if is_partial(resource):
        return "the notification has parts of the resource only, and a write would erase the others"
    return ""


def _own(item: WriteItem) -> list[IdentifierToken]:
    text = b"" if item.resource is None else item.resource.text
    if item.resource is None or (b'"identifier"' not in text and b"\\u" not in text):
        return []
    return identifiers(item.resource)


def _identifier_is_list(resource_type: str, release: Release) -> bool | None:
    """Whether resources of the type have many identifiers (True), one (False) or none (None)."""
    table = table_of_resource(release, resource_type)
    element = None if table is None else table.elements.get("identifier")
    return None if element is None or element.type_name != "Identifier" else element.is_list
