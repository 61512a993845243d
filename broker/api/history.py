"""Histories over HTTP: the Bundle of the versions that a client may read, page by page."""

from starlette.datastructures import QueryParams

from broker.api.accessed import entity_of
from broker.api.exchange import FhirRequest, FhirResponse
from broker.fhir.histories import history_bundle, history_entry
from broker.fhir.summaries import known_elements
from broker.services.history import HistoryPage, HistoryService
from broker.services.history_parameters import HistoryParameters, parse_history_parameters
from broker.tasks import Slices

_WITHOUT_HISTORY = frozenset({"AuditEvent", "Subscription", "SubscriptionTopic"})
"""Types of which the broker keeps the current version alone."""


class HistoryHandlers:
    """The rows for histories."""

    def __init__(self, histories: HistoryService) -> None:
        self._histories = histories

    def has_history(self, request: FhirRequest) -> bool:
        """Whether versions of the type are kept."""
        return request.params["type"] not in _WITHOUT_HISTORY

    async def of_resource(self, request: FhirRequest) -> FhirResponse:
        """Every stored version of a resource, deletions too, newest first."""
        resource_type, resource_id = request.params["type"], request.params["id"]
        elements = known_elements(request.release, resource_type)
        asked = parse_history_parameters(request.query.multi_items(), elements)
        page = await self._histories.of_resource(request.principal, resource_type, resource_id, asked)
        return await _respond(request, asked, page)


async def _respond(request: FhirRequest, asked: HistoryParameters, page: HistoryPage) -> FhirResponse:
    def link(name: str) -> str:
        query = QueryParams([*asked.honoured, *([("_page", name)] if name else [])])
        return request.url(request.path) + (f"?{query}" if query else "")

    entries, slices = [], Slices()
    for version in page.versions:
        entries.append(history_entry(request.base, version, request.release, asked.view))
        await slices.pause()
    links = {"self": link(asked.page), "first": link("")}
    if page.next:
        links["next"] = link(page.next)
    accessed = tuple(entity_of(version) for version in page.versions)
    return FhirResponse(body=history_bundle(entries, links).text, accessed=accessed)
