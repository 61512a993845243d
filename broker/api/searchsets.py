"""Renders a search as a searchset Bundle: control parameters, pages with their links, summaries."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Issue, Malformed, UnsupportedMedia
from broker.fhir import bundles
from broker.fhir.summaries import SummaryView, known_elements, summarize
from broker.model.resource import Resource
from broker.services.paging import cut, is_page
from broker.services.search import Fields, parse_search

T = TypeVar("T")
DEFAULT_COUNT = 100
MAX_COUNT = 1_000
FORM = "application/x-www-form-urlencoded"
_SUMMARIES = ("true", "false", "count", "data", "text")
_TOTALS = ("none", "accurate", "estimate")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the control parameters ask for. With `count` 0 the response has only the total."""

    count: int
    page: str
    view: SummaryView
    has_total: bool


def with_form(request: FhirRequest) -> FhirRequest:
    """A search by POST as one by GET: the parameters of the form after those of the URL. Any other request
    unchanged.
    """
    if not request.path.endswith("/_search"):
        return request
    media = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if request.resource.text and media != FORM:
        text = f"A search by POST takes {FORM}, not {media!r}. Send a form."
        raise UnsupportedMedia(Issue("not-supported", text))
    form = QueryParams(request.resource.text.decode(errors="replace"))
    query = QueryParams([*request.query.multi_items(), *form.multi_items()])
    return request._replace(path=request.path.removesuffix("/_search"), query=query)


def searchset(
    request: FhirRequest,
    resource_type: str,
    fields: Fields[T],
    candidates: Iterable[T],
    render: Callable[[T], Resource],
) -> FhirResponse:
    """The page of the candidates that pass every parameter, ordered by id, which the field `_id` gives."""
    search = parse_search(request.query.multi_items(), fields, is_lenient=request.is_lenient)
    shape = _shape(request, resource_type)

    def id_of(item: T) -> str:
        return next(iter(fields["_id"].values(item))) or ""

    items = sorted(search.run(candidates), key=id_of)
    kept = [(name, value) for name, value in search.used if name != "_page"]

    def link(page: str) -> str:
        query = QueryParams([*kept, ("_page", page)] if page else kept)
        return request.url(request.path) + (f"?{query}" if query else "")

    total = len(items) if shape.has_total else None
    if shape.count == 0:
        return FhirResponse(body=bundles.searchset([], link(""), total=total).text)
    page = cut(items, [id_of(item) for item in items], shape.page, shape.count)
    entries = [
        bundles.match_entry(
            request.url(f"{resource_type}/{id_of(item)}"),
            summarize(request.release, render(item), shape.view),
        )
        for item in page.items
    ]
    links = {relation: link(name) for relation, name in page.links.items()}
    return FhirResponse(body=bundles.searchset(entries, link(shape.page), total=total, links=links).text)


def _shape(request: FhirRequest, resource_type: str) -> _Shape:
    summary = _single(request, "_summary", _SUMMARIES) or "false"
    total = _single(request, "_total", _TOTALS)
    count = _single(request, "_count")
    if count and not re.fullmatch(r"[0-9]{1,9}", count):
        raise Malformed(Issue("value", f"_count takes a whole number, not {count!r}.", "_count"))
    page = _single(request, "_page")
    if page and not is_page(page):
        text = "The value of _page is invalid. Follow a link of an earlier response."
        raise Malformed(Issue("value", text, "_page"))
    elements = _elements(request, resource_type)
    if elements and summary != "false":
        text = "_summary and _elements exclude each other. Send one of them."
        raise Malformed(Issue("conflict", text, "_elements"))
    # FHIR defines _count=0 as _summary=count
    is_count = summary == "count" or (bool(count) and int(count) == 0)
    view = cast("Literal['false', 'true', 'text', 'data']", "false" if is_count else summary)
    return _Shape(
        count=0 if is_count else min(int(count or DEFAULT_COUNT), MAX_COUNT),
        page=page,
        view=SummaryView(view, elements),
        has_total=is_count or total != "none",
    )


def _single(request: FhirRequest, name: str, allowed: Sequence[str] = ()) -> str:
    """The only value of a control parameter, '' without one."""
    values = request.query.getlist(name)
    if len(values) > 1:
        raise Malformed(Issue("value", f"{name} is repeated. Send it once.", name))
    if values and allowed and values[0] not in allowed:
        raise Malformed(Issue("value", f"{name} takes {', '.join(allowed)}, not {values[0]!r}.", name))
    return values[0] if values else ""


def _elements(request: FhirRequest, resource_type: str) -> frozenset[str]:
    names = frozenset(
        name.strip()
        for value in request.query.getlist("_elements")
        for name in value.split(",")
        if name.strip()
    )
    unsupported = names - set(known_elements(request.release, resource_type))
    if unsupported:
        text = (
            f"{min(unsupported)!r} is not an element of {resource_type} in FHIR {request.adapter.version}. "
            "Leave it out of _elements."
        )
        raise Malformed(Issue("value", text, "_elements"))
    return names
