"""Search of the stored resources of a type, for EHRs that pull: pages of a snapshot as searchset Bundles."""

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Issue, UnsupportedMedia
from broker.fhir import bundles
from broker.fhir.summaries import summarize
from broker.services.accessed import entity_of
from broker.services.resource_search import ResourceSearchService, SearchResult
from broker.tasks import Slices

FORM = "application/x-www-form-urlencoded"


class ResourceSearchHandlers:
    """The rows for searches of any type that BROKER_SEARCH_INDEXES names."""

    def __init__(self, searches: ResourceSearchService) -> None:
        self._searches = searches

    def is_searched(self, request: FhirRequest) -> bool:
        """Whether the type of the path can be searched."""
        return self._searches.is_searched(request.params["type"])

    async def search(self, request: FhirRequest) -> FhirResponse:
        """A page of the matches as of one moment, which is `meta.lastUpdated` of the Bundle."""
        if request.resource.text:
            text = f"The parameters of a search are in its URL, or in a form of a POST. Send {FORM}."
            raise UnsupportedMedia(Issue("not-supported", text))
        found = await self._searches.search(
            request.principal,
            request.release,
            request.params["type"],
            request.query.multi_items(),
            is_strict=request.preferences.handling == "strict",
        )
        return await _rendered(request, found)


async def _rendered(request: FhirRequest, found: SearchResult) -> FhirResponse:
    shape, view, slices = found.search.shape, found.search.shape.view, Slices()
    entries = []
    for match in found.matches:
        url = request.url(match.version.key.reference)
        entries.append(bundles.match_entry(url, summarize(request.release, match.resource, view)))
        await slices.pause()
    for included in found.included:
        url = request.url(included.version.key.reference)
        shown = included.resource if view.elements else summarize(request.release, included.resource, view)
        entries.append(bundles.include_entry(url, shown))
        await slices.pause()
    if found.warnings:
        entries.append(bundles.outcome_entry(found.warnings))

    def link(page: str) -> str:
        query = QueryParams([*found.search.used, *shape.honoured, *([("_page", page)] if page else [])])
        return request.url(request.params["type"]) + (f"?{query}" if query else "")

    links = {"first": link("")} | ({"next": link(found.next)} if found.next else {})
    body = bundles.searchset(
        entries,
        link(shape.page),
        total=found.total,
        links=links,
        updated_ms=found.moment_ms,
    )
    shown_versions = [*found.matches, *found.included]
    return FhirResponse(body=body.text, accessed=[entity_of(each.version) for each in shown_versions])
