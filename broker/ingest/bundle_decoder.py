"""Decodes a transaction Bundle that was put on the inbox stream into the changes of its entries.

The HTTP API plans transactions by its interaction table instead, which also checks access. Both honour the
same preconditions and refuse the rest.
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from broker.errors import Issue, MethodNotAllowed, RequestError, Unprocessable
from broker.fhir.bundle_requests import BundleEntry, parse_bundle
from broker.fhir.criteria import RESPONSE_PARAMETERS, parse_condition, parse_criteria
from broker.fhir.identity import check_id, check_type
from broker.fhir.preconditions import version_condition
from broker.fhir.release import adapter
from broker.ingest.decoder import Transaction
from broker.ingest.patches import parse_patch
from broker.ingest.requests import ChangeRequest
from broker.ingest.transactions import TransactionEntry, located_at
from broker.model.resource import Resource

FRAMEWORK_TYPES = frozenset({"Subscription", "SubscriptionTopic"})
"""Types that are registered over HTTP, where the client gets the answer."""
_OPS: Mapping[str, Literal["create", "put", "delete"]] = {
    "POST": "create",
    "PUT": "put",
    "PATCH": "put",
    "DELETE": "delete",
}


def decode_transaction(bundle: Resource, template: ChangeRequest) -> Transaction:
    """The entries of the Bundle as changes with the tenant, release and idempotency key of the template.

    Raises `RequestError`s that name the entries; a batch is refused, because nobody would get the results of
    its entries.
    """
    parsed = parse_bundle(bundle)
    if parsed.type != "transaction":
        text = "A batch is not accepted here. Send a transaction, or each change in an entry of its own."
        raise Unprocessable(Issue("not-supported", text, "Bundle.type"))
    entries: list[TransactionEntry] = []
    for n, entry in enumerate(parsed.entries):
        try:
            change = _change(entry, template)
        except RequestError as error:
            raise type(error)(*(located_at(issue, n) for issue in error.issues)) from None
        entries.append(
            TransactionEntry(
                change._replace(idempotency_key=f"{template.idempotency_key}#{n}"), entry.full_url
            )
        )
    return Transaction(entries)


def _change(entry: BundleEntry, template: ChangeRequest) -> ChangeRequest:
    parts = urlsplit(entry.url)
    resource_type, _, resource_id = parts.path.partition("/")
    criteria = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in RESPONSE_PARAMETERS
    ]
    op = _OPS.get(entry.method)
    # a create has neither id nor criteria, any other change has one of them
    names_one = bool(resource_id) + bool(criteria) == (op != "create")
    if op is None or parts.scheme or not names_one or resource_type in FRAMEWORK_TYPES:
        text = (
            f"A transaction in the inbox cannot contain {entry.method} {entry.url}. Send POST Type, "
            "PUT, PATCH or DELETE Type/id or Type?identifier=…; register Subscriptions and topics over HTTP."
        )
        raise MethodNotAllowed(Issue("not-supported", text))
    if resource_type not in adapter(template.release).resource_types:
        text = f"{resource_type!r} is not a resource type of {template.release}."
        raise Unprocessable(Issue("not-supported", text))
    change = template._replace(op=op, type=resource_type, id=resource_id, resource=None)
    if entry.resource is not None and entry.method == "PATCH":
        change = change._replace(patch=parse_patch(entry.resource))
    elif entry.resource is not None and op != "delete":
        check_type(entry.resource, resource_type)
        change = change._replace(resource=entry.resource)
    if op == "create":
        _refuse(entry.method, ifMatch=entry.if_match, ifNoneMatch=entry.if_none_match)
        existing = entry.if_none_exist
        return change._replace(criteria=parse_condition(existing, resource_type) if existing else None)
    _refuse(entry.method, ifNoneExist=entry.if_none_exist)
    condition = version_condition(entry.if_match or None, entry.if_none_match or None)
    if not criteria:
        check_id(resource_id)
        return change._replace(condition=condition)
    body_id = "" if change.resource is None else change.resource.id
    if body_id:
        check_id(body_id)
    return change._replace(id=body_id, condition=condition, criteria=parse_criteria(criteria, entry.method))


def _refuse(method: str, **preconditions: str) -> None:
    for name, text in preconditions.items():
        if text:
            raise Unprocessable(Issue("not-supported", f"{name} is not supported on {method}. Leave it out."))
