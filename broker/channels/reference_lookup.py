"""Finds what the references of a resource are called on the server that the resource is written to.

A reference that is not found there is never sent: the same `Patient/1` may be another person there. What was
found is kept for a while; a refusal makes it be looked up again.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from broker.channels.fhir_server import Accepted, Failure, FhirServer, ItemRefused
from broker.channels.write_targets import WriteTarget
from broker.fhir.identifiers import IdentifierToken, identifiers
from broker.fhir.server_answers import matches, reference_of
from broker.fhir.server_references import LogicalReference, ReferenceReader, logical_references
from broker.fhir.server_writes import (
    WriteItem,
    WriteMode,
    WriteRequest,
    identifier_query,
    is_partial,
    with_references,
    write_request,
)
from broker.model.change import Interaction, Tenant
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Refused
from broker.model.release import Release
from broker.model.resource import Resource
from broker.recently_used import RecentlyUsed

MAX_KEPT = 100_000
MAX_UNUSED_S = 900.0
_MAX_IDENTIFIERS = 10
_MAX_DEPTH = 3
_FORM = "application/x-www-form-urlencoded"


class LocalResources(Protocol):
    """Reads the resources of this broker."""

    async def __call__(
        self, tenant: Tenant, resource_type: str, resource_id: str, release: Release
    ) -> Resource | None:
        """The current version in the release; None if there is none. Raises `StoreUnavailable`."""
        ...


class Unresolved(NamedTuple):
    """Why a reference can't be sent. It names the reference and no identifier. `outcome` is what the server
    answered, if that is the reason.
    """

    reason: str
    outcome: bytes = b""


class ReferenceLookup:
    """One a process. `base_url` is the broker's own."""

    def __init__(self, local: LocalResources, base_url: str) -> None:
        self._local = local
        self._reader = ReferenceReader(base_url)
        self._found = RecentlyUsed[tuple[Tenant, str, str], str](MAX_KEPT, MAX_UNUSED_S)

    async def resolved(
        self,
        server: FhirServer,
        request: WriteRequest,
        in_bundle: Mapping[str, str],
        given: Mapping[str, Resource],
        depth: int = 0,
    ) -> WriteRequest | Unresolved | Failure:
        """The request with its references as the server knows them. `in_bundle` are the fullUrls of what the
        same transaction writes, by `Type/id` and by the keys of logical references; `given` are resources
        that need not be read.
        """
        if request.resource is None:
            return request
        targets: dict[str, str] = {}
        for text, reference in self._reader.local(request.resource).items():
            if reference in in_bundle:
                targets[text] = in_bundle[reference]
                continue
            found = await self._find(server, reference, given, depth)
            if not isinstance(found, str):
                return found
            if found != text:
                targets[text] = found
        logical: dict[LogicalReference, str] = {}
        for named in logical_references(request.resource):
            if named.type in server.target.lookups:
                found = in_bundle.get(named.key) or await self._find_logical(server, named)
                if not isinstance(found, str):
                    return found
                logical[named] = found
        return with_references(request, targets, logical)

    def remember(self, target: WriteTarget, reference: str, found: str) -> None:
        """`reference` is called `found` on the server."""
        self._found.put((target.tenant, target.name, reference), found)

    def forget(self, target: WriteTarget, reference: str) -> None:
        """`reference` is looked up again."""
        self._found.remove((target.tenant, target.name, reference))

    def forget_references(self, target: WriteTarget, resource: Resource | None) -> None:
        """All references of the resource are looked up again."""
        if resource is not None:
            logical = [named.key for named in logical_references(resource)]
            for reference in [*self._reader.local(resource).values(), *logical]:
                self.forget(target, reference)

    async def _find(
        self, server: FhirServer, reference: str, given: Mapping[str, Resource], depth: int
    ) -> str | Unresolved | Failure:
        target = server.target
        resource_type, _, resource_id = reference.partition("/")
        is_looked_up = resource_type in target.lookups
        if target.rules.mode is WriteMode.UPDATE and not is_looked_up:
            return reference  # the server has the ids of the broker
        kept = self._found.get((target.tenant, target.name, reference))
        if kept is not None:
            return kept
        resource = given.get(reference)
        if is_looked_up and (resource is None or is_partial(resource)):
            resource = await self._local(target.tenant, resource_type, resource_id, target.rules.release)
        tokens = _tokens(target, resource_type, reference, resource if is_looked_up else None)
        if not tokens:
            return Unresolved(f"{reference} is not found on the server by an identifier")
        found = await self._search(server, resource_type, reference, tokens)
        if found == "" and resource_type in target.creates and resource is not None:
            found = await self._create(server, reference, resource, tokens, given, depth)
        if found == "":
            return Unresolved(f"the server has no {resource_type} with an identifier of {reference}")
        if isinstance(found, str):
            self.remember(target, reference, found)
        return found

    async def _find_logical(self, server: FhirServer, named: LogicalReference) -> str | Unresolved | Failure:
        target = server.target
        kept = self._found.get((target.tenant, target.name, named.key))
        if kept is not None:
            return kept
        found = await self._search(server, named.type, f"a reference to {named.type}", [named.identifier])
        if found == "":
            return Unresolved(f"the server has no {named.type} with the identifier of a reference")
        if isinstance(found, str):
            self.remember(target, named.key, found)
        return found

    async def _search(
        self, server: FhirServer, resource_type: str, reference: str, tokens: list[IdentifierToken]
    ) -> str | Unresolved | Failure:
        """The match as `Type/id`, '' for none. The identifiers are in the body: URLs are logged."""
        body = identifier_query(*tokens).encode()
        answer = await server.request("POST", f"{resource_type}/_search", body, content_type=_FORM)
        match answer:
            case Accepted(body=body):
                found = matches(body, resource_type)
            case ItemRefused(text=text):
                return _not_usable(f"{resource_type} can't be searched by identifier: {text}")
            case _:
                return answer
        if found is None:
            text = f"the answer to a search of {resource_type} is no searchset"
            return _not_usable(text, is_transient=True)
        if len(found) > 1:
            return Unresolved(
                f"the server has {len(found)} resources {resource_type} with the identifiers of {reference}"
            )
        return found[0] if found else ""

    async def _create(
        self,
        server: FhirServer,
        reference: str,
        resource: Resource,
        tokens: list[IdentifierToken],
        given: Mapping[str, Resource],
        depth: int,
    ) -> str | Unresolved | Failure:
        """The new resource, or one that was created meanwhile, by this broker or another client: the
        condition is the resource's own identifiers where it has some.
        """
        if depth >= _MAX_DEPTH:
            return Unresolved(f"{reference} is referred to over too many resources")
        resource_type, _, resource_id = reference.partition("/")
        item = WriteItem(0, Interaction.CREATE, resource_type, resource_id, resource)
        rules = server.target.rules._replace(mode=WriteMode.CONDITIONAL_CREATE)
        request = write_request(item, rules)
        if not isinstance(request, WriteRequest):
            return Unresolved(f"{reference} can't be created on the server: it has no identifier")
        resolved = await self.resolved(server, request, {}, given, depth + 1)
        if not isinstance(resolved, WriteRequest):
            return resolved
        body = resolved.resource.text if resolved.resource is not None else b""
        own = [token for token in identifiers(resource) if token.system]
        condition = ("If-None-Exist", identifier_query(*(own or tokens)))
        answer = await server.request("POST", resource_type, body, headers=(condition,))
        match answer:
            case Accepted(location=location):
                created = reference_of(location)
                if created.startswith(f"{resource_type}/"):
                    return created
                return await self._search(server, resource_type, reference, tokens)
            case ItemRefused(text=text, outcome=outcome):
                return Unresolved(f"{reference} was not created on the server: {text}", outcome)
            case _:
                return answer


def _tokens(
    target: WriteTarget, resource_type: str, reference: str, resource: Resource | None
) -> list[IdentifierToken]:
    """The identifiers by which the server may know a resource: the broker's, if the target gets its type, and
    its own that have a system.
    """
    tokens = []
    if target.rules.identifier_system and (resource_type in target.types or resource_type in target.creates):
        tokens.append(IdentifierToken(target.rules.identifier_system, reference))
    if resource is not None:
        tokens += [token for token in identifiers(resource) if token.system]
    return tokens[:_MAX_IDENTIFIERS]


def _not_usable(text: str, *, is_transient: bool = False) -> Failure:
    return Refused(is_transient, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
