"""Finds the row of the interaction table for a request, checks access, and calls its handler.

Single requests, entries of a batch, entries of a transaction and operations all pass
`InteractionTable.resolve`: there is no other way to a handler, and so none around the access check.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from broker.api.auditing import Auditor
from broker.api.exchange import FhirRequest, FhirResponse, Handler
from broker.api.failures import failure
from broker.api.preconditions import OPERATION, Honoured, access_to_criteria, refuse_others
from broker.api.views import narrowed
from broker.errors import BrokerError, Forbidden, Issue, MethodNotAllowed, NotFound
from broker.ingest.requests import ChangeRequest
from broker.model.access import Access, authorize
from broker.telemetry import current_request


class Interaction(NamedTuple):
    """One row: a method, a path below the base, who answers, and what a principal needs.

    A variable of the path is written `{name}`; `{type}` is a resource type of the release. The first row that
    fits is taken; one with `only` fits where that says so. `plan` is set on rows that a transaction may
    contain: it gives the change that the request asks for. `type_of` gives the resource type for the access
    check where the path has none. A row with `is_refusal` exists to refuse with a reason, and its method is
    not offered. `honours`: the preconditions of a row that writes; all others are refused.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    only: Callable[[FhirRequest], bool] | None = None
    plan: Callable[[FhirRequest], ChangeRequest] | None = None
    type_of: Callable[[FhirRequest], str] | None = None
    is_refusal: bool = False
    honours: Honoured = OPERATION

    @property
    def reads_resource(self) -> bool:
        """Whether the response is one resource as it is stored or stands: a read, a vread or the metadata."""
        return self.method == "GET" and self.path.endswith(("metadata", "/{id}", "/{version}"))

    @property
    def route(self) -> str:
        """The row as metrics and spans name it, in all releases alike."""
        return f"/{{release}}/{self.path}"

    def fits(self, request: FhirRequest) -> bool:
        """Whether the row is for a request that has its method and path."""
        return self.only is None or self.only(request)


class _Pattern(NamedTuple):
    interaction: Interaction
    pattern: re.Pattern[str]


class InteractionTable:
    """The rows of the FHIR bases. `build` makes them; the row for Bundles is given the table itself."""

    def __init__(
        self,
        build: Callable[["InteractionTable"], Sequence[Interaction]],
        auditor: Auditor | None = None,
    ) -> None:
        self._auditor = auditor
        self.rows = build(self)
        self._patterns = [_Pattern(row, _compile(row.path)) for row in self.rows]
        self._literal: dict[tuple[str, str], list[Interaction]] = {}
        # by method and number of slashes, so that a path is compared with few patterns
        self._variable: dict[tuple[str, int], list[_Pattern]] = {}
        for entry in self._patterns:
            method, path = entry.interaction.method, entry.interaction.path
            if "{" in path:
                self._variable.setdefault((method, path.count("/")), []).append(entry)
            else:
                self._literal.setdefault((method, path), []).append(entry.interaction)

    def is_public(self, method: str, path: str) -> bool:
        """Whether a request needs no client at all."""
        return any(row.access.is_public for row in self._literal.get((method, path), ()))

    async def dispatch(self, request: FhirRequest) -> FhirResponse:
        """The response of the row's handler, after the audit trail has it.

        Raises the errors of `resolve` and of the handler.
        """
        try:
            interaction, request = await self.resolve_audited(request)
            response = await self._answer(interaction, request)
            return narrowed(request, response) if interaction.reads_resource else response
        except MethodNotAllowed as error:
            return failure(error)._replace(headers={"Allow": ", ".join(self.allowed(request))})

    async def _answer(self, interaction: Interaction, request: FhirRequest) -> FhirResponse:
        if self._auditor is None:
            return await interaction.handler(request)
        row = (interaction.method, interaction.path)
        try:
            response = await interaction.handler(request)
        except BrokerError as error:
            await self._auditor.record_failure(row, request, error)
            raise
        await self._auditor.record(row, request, response)
        return response

    async def resolve_audited(self, request: FhirRequest) -> tuple[Interaction, FhirRequest]:
        """`resolve`; a refusal by the access check is in the audit trail."""
        try:
            return self.resolve(request)
        except Forbidden as error:
            if self._auditor is not None:
                await self._auditor.record_forbidden(request, error)
            raise

    def resolve(self, request: FhirRequest) -> tuple[Interaction, FhirRequest]:
        """The row, and the request with the variables of its path.

        Raises `NotFound`, `MethodNotAllowed`, `Forbidden` where the principal lacks what the row or the
        criteria need, and `Malformed` or `Unprocessable` for a precondition or parameter that the row does
        not honour.
        """
        interaction, request = self._find(request)
        current_request.name_route(interaction.route)
        if _names_unknown_type(request):
            raise self._not_a_type(request)
        resource_type = request.params.get("type", "")
        if interaction.type_of is not None:
            resource_type = interaction.type_of(request)
        authorize(request.principal, interaction.access, resource_type)
        if interaction.method != "GET" and not interaction.is_refusal:
            refuse_others(request, interaction.honours)
            # an administrator's row needs a role instead of scopes
            if interaction.access.scope and (access := access_to_criteria(request, interaction.honours)):
                authorize(request.principal, access, resource_type or request.path)
        return interaction, request

    def _not_a_type(self, request: FhirRequest) -> NotFound | MethodNotAllowed:
        """The refusal of a path that has a resource type's place but no resource type in it."""
        if any(path == request.path for _, path in self._literal):
            return _method_not_allowed(request)
        text = (
            f"{request.params['type']!r} is not a resource type of FHIR {request.adapter.version}. "
            f"Read {request.url('metadata')} for those that are."
        )
        return NotFound(Issue("not-supported", text))

    def allowed(self, request: FhirRequest) -> Sequence[str]:
        """The methods that may be used on the path instead of the request's own, for the Allow header of a
        405.
        """
        first: dict[str, Interaction] = {}
        for interaction, pattern in self._patterns:
            match = pattern.fullmatch(request.path)
            if match is None:
                continue
            candidate = request._replace(params=match.groupdict())
            if not _names_unknown_type(candidate) and interaction.fits(candidate):
                first.setdefault(interaction.method, interaction)
        return sorted(
            method
            for method, interaction in first.items()
            if not interaction.is_refusal and method != request.method
        )

    def _find(self, request: FhirRequest) -> tuple[Interaction, FhirRequest]:
        method, path = request.method, request.path
        for interaction in self._literal.get((method, path), ()):
            if interaction.fits(request):
                return interaction, request
        for interaction, pattern in self._variable.get((method, path.count("/")), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                candidate = request._replace(params=match.groupdict())
                if interaction.fits(candidate):
                    return interaction, candidate
        if any(pattern.fullmatch(path) for _, pattern in self._patterns):
            raise _method_not_allowed(request)
        text = f"There is nothing at {path!r}. Read {request.url('metadata')} for what this base offers."
        raise NotFound(Issue("not-found", text))


def _names_unknown_type(request: FhirRequest) -> bool:
    resource_type = request.params.get("type", "")
    return bool(resource_type) and resource_type not in request.adapter.resource_types


def _method_not_allowed(request: FhirRequest) -> MethodNotAllowed:
    text = (
        f"{request.method} is not supported on {request.path or 'a base'}. Use a method of the Allow header."
    )
    return MethodNotAllowed(Issue("not-supported", text))


def _compile(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    # a segment that starts with a dollar is an operation, one with an underscore a search or history
    return re.compile(
        "".join(f"(?P<{part}>[^/$_][^/]*)" if n % 2 else re.escape(part) for n, part in enumerate(parts))
    )
