"""The contract of the inbox stream: one entry is one change; what can't be accepted is set aside with its reason.

The entry id serves as idempotency key where the gateway gave none, so an entry read again after a crash is one change.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

from broker.errors import Issue, Malformed, RequestError, StoreUnavailable, Unprocessable
from broker.fhir import documents
from broker.fhir.outcomes import operation_outcome
from broker.fhir.release import adapter
from broker.ingest.intake import Intake, Request
from broker.model.change import DEFAULT_TENANT, Interaction, Tenant
from broker.model.release import Release
from broker.store.inbox import InboxEntry, Refusal
from broker.store.keys import TENANT_PATTERN

Code = TypeVar("Code", Interaction, Release)
_KNOWN = {"resource", "interaction", "release", "tenant", "key"}
_OPS: Mapping[Interaction, str] = {
    Interaction.CREATE: "create",
    Interaction.UPDATE: "put",
    Interaction.DELETE: "delete",
}


def request_of(entry: InboxEntry) -> Request:
    """The change an entry asks for. Raises `RequestError` naming the field that is wrong."""
    unknown = set(entry.fields) - _KNOWN
    if unknown:
        raise Malformed(
            Issue("structure", f"unknown field {min(unknown)!r}; known are {', '.join(sorted(_KNOWN))}")
        )
    body = entry.fields.get("resource")
    if not body:
        raise Malformed(
            Issue("required", "the field `resource` (a FHIR resource as JSON) is missing", "resource")
        )
    interaction = _choice(entry, "interaction", Interaction, Interaction.CREATE)
    release = _choice(entry, "release", Release, Release.R4)
    tenant = entry.fields.get("tenant", DEFAULT_TENANT.encode()).decode(errors="replace")
    if not TENANT_PATTERN.fullmatch(tenant):
        raise Malformed(Issue("value", "`tenant` takes letters, digits, - and _, at most 64", "tenant"))
    kind, one = documents.resource_type(body), documents.resource_id(body)
    if kind not in adapter(release).resource_types:
        raise Unprocessable(
            Issue("not-supported", f"{kind!r} is no resource type of {release}", "resourceType")
        )
    if interaction is not Interaction.CREATE and not one:
        raise Unprocessable(Issue("required", f"an {interaction} needs the resource's id", f"{kind}.id"))
    key = entry.fields.get("key", b"").decode(errors="replace")
    return Request(
        tenant=Tenant(tenant),
        release=release,
        op=_OPS[interaction],  # type: ignore[arg-type]  # the values are the literals
        type=kind,
        id="" if interaction is Interaction.CREATE else one,
        body=b"" if interaction is Interaction.DELETE else body,
        idempotency_key=f"key:{key}" if key else f"entry:{entry.id}",
    )


def _choice(entry: InboxEntry, field: str, kind: type[Code], default: Code) -> Code:
    given = entry.fields.get(field)
    if given is None:
        return default
    try:
        return kind(given.decode())
    except ValueError:
        raise Malformed(Issue("value", f"`{field}` takes {', '.join(kind)}", field)) from None


class InboxIntake:
    """Admits entries in order and sorts out what was refused."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def admit(self, entries: list[InboxEntry]) -> tuple[list[InboxEntry], list[Refusal]]:
        """Accepted entries, and refused ones with an OperationOutcome. Raises `StoreUnavailable`: read them again later."""
        results = await asyncio.gather(*(self._one(entry) for entry in entries), return_exceptions=True)
        accepted: list[InboxEntry] = []
        refused: list[Refusal] = []
        for entry, result in zip(entries, results, strict=True):
            match result:
                case None:
                    accepted.append(entry)
                case RequestError():
                    refused.append(_refusal(entry, result.issues))
                case StoreUnavailable() | asyncio.CancelledError():
                    raise result
                case BaseException():
                    # a resource that breaks the code must not stop those behind it
                    text = f"the broker failed on it: {type(result).__name__}"
                    refused.append(_refusal(entry, [Issue("exception", text)]))
        return accepted, refused

    async def _one(self, entry: InboxEntry) -> None:
        await self._intake.admit(request_of(entry))


def _refusal(entry: InboxEntry, issues: Sequence[Issue]) -> Refusal:
    return Refusal(entry, "; ".join(issue.text for issue in issues), operation_outcome(issues))
