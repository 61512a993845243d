"""Histories over HTTP: the Bundle of the versions that a client may read, page by page."""

from collections.abc import Collection, Sequence

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse
from broker.fhir.histories import history_bundle, history_entry
from broker.fhir.summaries import known_elements
from broker.model.change import Version
from broker.services.accessed import entity_of
from broker.services.history import HistoryService
from broker.services.history_parameters import HistoryParameters, parse_history_parameters
from broker.services.type_history import TypeHistoryService
from broker.tasks import Slices

_WITHOUT_HISTORY = frozenset({"AuditEvent", "Subscription", "SubscriptionTopic"})
"""Types of which the broker keeps the current version alone."""


class HistoryHandlers:
    """The rows for histories."""

    def __init__(self, histories: HistoryService, type_histories: TypeHistoryService) -> None:
        self._histories = histories
        self._type_histories = type_histories

    def has_history(self, request: FhirRequest) -> bool:
        """Whether versions of the type are kept."""
        return request.params["type"] not in _WITHOUT_HISTORY

    async def of_resource(self, request: FhirRequest) -> FhirResponse:
        """Every stored version of a resource, deletions too, newest first."""
        resource_type, resource_id = request.params["type"], request.params["id"]
        asked = _asked(request, known_elements(request.release, resource_type))
        page = await self._histories.of_resource(request.principal, resource_type, resource_id, asked)
        return await _respond(request, asked, page.versions, page.next)

    async def of_type(self, request: FhirRequest) -> FhirResponse:
        """Every stored version of all resources of a type up to the moment that is `meta.lastUpdated` of the
        Bundle.
        """
        resource_type = request.params["type"]
        asked = _asked(request, known_elements(request.release, resource_type))
        page = await self._type_histories.of_type(request.principal, resource_type, asked)
        return await _respond(request, asked, page.versions, page.next, page.moment_ms)

    async def of_all(self, request: FhirRequest) -> FhirResponse:
        """The same of all types that the client may search."""
        asked = _asked(request, ())
        page = await self._type_histories.of_all(request.principal, asked)
        return await _respond(request, asked, page.versions, page.next, page.moment_ms)


def _asked(request: FhirRequest, elements: Collection[str]) -> HistoryParameters:
    return parse_history_parameters(request.query.multi_items(), elements)


async def _respond(
    request: FhirRequest,
    asked: HistoryParameters,
    versions: Sequence[Version],
    following: str,
    moment_ms: int | None = None,
) -> FhirResponse:
    def link(name: str) -> str:
        query = QueryParams([*asked.honoured, *([("_page", name)] if name else [])])
        return request.url(request.path) + (f"?{query}" if query else "")

    entries, slices = [], Slices()
    for version in versions:
        entries.append(history_entry(request.base, version, request.release, asked.view))
        await slices.pause()
    links = {"self": link(asked.page), "first": link("")}
    if following:
        links["next"] = link(following)
    accessed = tuple(entity_of(version) for version in versions)
    return FhirResponse(body=history_bundle(entries, links, moment_ms).text, accessed=accessed)
