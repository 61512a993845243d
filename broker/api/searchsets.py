"""Searches as requests and their answers: parameters by form, pages, summaries, and the searchset Bundle with its links.

Pages are cut by id, not by position: what is added or removed between two pages makes no other item appear twice or never.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

from starlette.datastructures import QueryParams

from broker.api.responses import Call, Reply
from broker.api.search import Field, read_terms
from broker.errors import Issue, Malformed, UnsupportedMedia
from broker.fhir import bundles
from broker.fhir.summaries import View, known_elements, shown

T = TypeVar("T")
DEFAULT_COUNT = 100
MAX_COUNT = 1_000
FORM = "application/x-www-form-urlencoded"
_SUMMARIES = ("true", "false", "count", "data", "text")
_TOTALS = ("none", "accurate", "estimate")
_PAGE = re.compile(r"(after|before)\.([A-Za-z0-9\-.]{1,64})|(last)")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the control parameters ask of the answer. With `count` 0 only the total is told."""

    count: int
    page: str
    view: View
    has_total: bool


@dataclass(frozen=True, slots=True)
class _Page(Generic[T]):
    items: Sequence[T]
    links: Mapping[str, str]
    """Relation to the `_page` that leads there, '' for the first."""


def with_form(call: Call) -> Call:
    """A search sent by POST: the form's parameters after those of the URL."""
    media = call.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if call.body and media != FORM:
        raise UnsupportedMedia(Issue("not-supported", f"a search by POST takes {FORM}, not {media!r}"))
    form = QueryParams(call.body.decode(errors="replace"))
    query = QueryParams([*call.query.multi_items(), *form.multi_items()])
    return call._replace(path=call.path.removesuffix("/_search"), query=query)


def respond(
    call: Call,
    resource_type: str,
    fields: Mapping[str, Field[T]],
    candidates: Iterable[T],
    render: Callable[[T], bytes],
) -> Reply:
    """The searchset of the candidates that meet every parameter. Each has an id, told by the field `_id`."""
    is_lenient = "handling=lenient" in call.headers.get("prefer", "").replace(" ", "").lower()
    terms, used = read_terms(call.query, fields, is_lenient=is_lenient)
    shape = _shape(call, resource_type)

    def id_of(one: T) -> str:
        return next(iter(fields["_id"].values(one))) or ""

    found = sorted((one for one in candidates if all(term.passes(one) for term in terms)), key=id_of)
    kept = [(name, value) for name, value in used if name != "_page"]

    def link(page: str) -> str:
        query = QueryParams([*kept, ("_page", page)] if page else kept)
        return call.url(call.path) + (f"?{query}" if query else "")

    total = len(found) if shape.has_total else None
    if shape.count == 0:
        return Reply(body=bundles.searchset([], link(""), total=total))
    page = _cut(found, [id_of(one) for one in found], shape)
    entries = [
        bundles.match_entry(
            call.url(f"{resource_type}/{id_of(one)}"), shown(call.release, render(one), shape.view)
        )
        for one in page.items
    ]
    more = {relation: link(where) for relation, where in page.links.items()}
    return Reply(body=bundles.searchset(entries, link(shape.page), total=total, more=more))


def _cut(found: Sequence[T], ids: Sequence[str], shape: _Shape) -> _Page[T]:
    end = len(found)
    start_of_last = max(0, (end - 1) // shape.count * shape.count)
    where, _, marker = shape.page.partition(".")
    match where:
        case "after":
            start = next((n for n, one in enumerate(ids) if one > marker), end)
        case "before":
            past = next((n for n, one in enumerate(ids) if one >= marker), end)
            start, end = max(0, past - shape.count), past
        case "last":
            start = start_of_last
        case _:
            start = 0
    items = found[start : min(end, start + shape.count)]
    links = {"first": ""}
    if start > 0:
        links["previous"] = f"before.{ids[start]}" if items else "last"
    if items and ids[-1] != ids[start + len(items) - 1]:
        links["next"] = f"after.{ids[start + len(items) - 1]}"
    return _Page(items, links | {"last": "last"})


def _shape(call: Call, resource_type: str) -> _Shape:
    summary = _one(call, "_summary", _SUMMARIES) or "false"
    total = _one(call, "_total", _TOTALS)
    given = _one(call, "_count")
    if given and not re.fullmatch(r"[0-9]{1,9}", given):
        raise Malformed(Issue("value", f"_count takes a whole number, not {given!r}", "_count"))
    page = _one(call, "_page")
    if page and not _PAGE.fullmatch(page):
        raise Malformed(Issue("value", "_page is taken from a link of an earlier answer", "_page"))
    elements = _elements(call, resource_type)
    if elements and summary != "false":
        raise Malformed(Issue("conflict", "ask for _summary or for _elements, not for both", "_elements"))
    # `_count=0` asks for what `_summary=count` does
    is_count = summary == "count" or (bool(given) and int(given) == 0)
    view = cast("Literal['false', 'true', 'text', 'data']", "false" if is_count else summary)
    return _Shape(
        count=0 if is_count else min(int(given or DEFAULT_COUNT), MAX_COUNT),
        page=page,
        view=View(view, elements),
        has_total=is_count or total != "none",
    )


def _one(call: Call, name: str, allowed: Sequence[str] = ()) -> str:
    """The only value of a control parameter, '' without one."""
    given = call.query.getlist(name)
    if len(given) > 1:
        raise Malformed(Issue("value", f"{name} may be given once", name))
    if given and allowed and given[0] not in allowed:
        raise Malformed(Issue("value", f"{name} takes {', '.join(allowed)}, not {given[0]!r}", name))
    return given[0] if given else ""


def _elements(call: Call, resource_type: str) -> frozenset[str]:
    names = frozenset(
        name.strip() for given in call.query.getlist("_elements") for name in given.split(",") if name.strip()
    )
    unknown = names - set(known_elements(call.release, resource_type))
    if unknown:
        text = f"{min(unknown)!r} is no element of {resource_type} in FHIR {call.adapter.version}"
        raise Malformed(Issue("value", text, "_elements"))
    return names
