"""Renders a search as a searchset Bundle: pages with their links, summaries, and what was ignored.

The self link has exactly the parameters that were applied; an OperationOutcome in the Bundle names the
others.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Issue, Malformed, UnsupportedMedia
from broker.fhir import bundles
from broker.fhir.summaries import known_elements, summarize
from broker.model.resource import Resource
from broker.services.paging import Page, PageName, PageSelector, parse_page
from broker.services.result_parameters import parse_result_parameters
from broker.services.search import Fields, Search, parse_search
from broker.services.search_order import SearchOrder

T = TypeVar("T")
PageById = Callable[[PageName, int], Awaitable[tuple[Page[T], int]]]
"""The named page of all candidates by id, of at most so many, and how many there are."""
Candidates = Callable[[Search[T]], AsyncIterator[T]]
"""Everything that may pass a search."""
_SLICE = 25
"""Entries rendered without a pause."""
FORM = "application/x-www-form-urlencoded"


def is_form(method: str, path: str, content_type: str) -> bool:
    """Whether the body of a request has the parameters of a search. Without a Content-Type it has."""
    media = content_type.partition(";")[0].strip().lower()
    return method == "POST" and path.endswith("/_search") and media in {"", FORM}


def with_form(query: QueryParams, form: bytes) -> QueryParams:
    """The parameters of a search by POST: those of the URL, then those of the form."""
    parameters = QueryParams(form.decode(errors="replace"))
    return QueryParams([*query.multi_items(), *parameters.multi_items()])


def each_of(items: Iterable[T]) -> Candidates[T]:
    """The items, for a search among what is in memory."""

    async def candidates(_search: Search[T]) -> AsyncIterator[T]:
        for item in items:
            yield item

    return candidates


async def searchset(
    request: FhirRequest,
    resource_type: str,
    fields: Fields[T],
    candidates: Candidates[T],
    render: Callable[[T], Resource],
    page_by_id: PageById[T] | None = None,
) -> FhirResponse:
    """The page of the candidates that pass every parameter, in the order asked for, else by id, which the
    field `_id` gives. `page_by_id` is used instead of `candidates` where nothing is selected or sorted.
    """
    if request.resource.text:
        text = f"The parameters of a search are in its URL, or in a form of a POST. Send {FORM}."
        raise UnsupportedMedia(Issue("not-supported", text))
    parameters, is_strict = request.query.multi_items(), request.preferences.handling == "strict"
    search = parse_search(parameters, fields, ignores_unsupported=not is_strict)
    shape = parse_result_parameters(
        parameters,
        sortable=fields.keys(),
        elements=known_elements(request.release, resource_type),
        is_strict=is_strict,
    )
    order = SearchOrder(shape.sort, fields)
    page_name = parse_page(shape.page, order.length)
    if page_name is None:
        text = "The value of _page is invalid. Follow a link of an earlier response."
        raise Malformed(Issue("value", text, "_page"))
    count = max(1, shape.count)
    if page_by_id is not None and not search.terms and not shape.sort:
        page, number = await page_by_id(page_name, count)
    else:
        selector = PageSelector[T](page_name, count, order.compare)
        async for candidate in candidates(search):
            if search.passes(candidate):
                selector.add(order.position(candidate), candidate)
        page, number = selector.page(), selector.total

    def link(page: str) -> str:
        query = QueryParams([*search.used, *shape.honoured, *([("_page", page)] if page else [])])
        return request.url(request.path.removesuffix("/_search")) + (f"?{query}" if query else "")

    total = number if shape.has_total else None
    ignored = [*search.ignored, *shape.ignored]
    reports = [bundles.outcome_entry(ignored)] if ignored else []
    if shape.count == 0:
        return FhirResponse(body=bundles.searchset(reports, link(""), total=total).text)
    entries = []
    for item in page.items:
        url = request.url(f"{resource_type}/{order.id_of(item)}")
        entries.append(bundles.match_entry(url, summarize(request.release, render(item), shape.view)))
        if len(entries) % _SLICE == 0:
            await asyncio.sleep(0)  # other requests go on between the parts of a large page
    links = {relation: link(name) for relation, name in page.links.items()}
    body = bundles.searchset([*entries, *reports], link(shape.page), total=total, links=links).text
    return FhirResponse(body=body)
