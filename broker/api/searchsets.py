"""Searches as requests and their answers: parameters by form, and a page as a searchset Bundle with its links."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from starlette.datastructures import QueryParams

from broker.api.responses import Call, Reply
from broker.api.search import Page
from broker.fhir import bundles

T = TypeVar("T")


def with_form(call: Call) -> Call:
    """A search sent by POST: the form's parameters after those of the URL."""
    form = QueryParams(call.body.decode(errors="replace"))
    return replace(call, query=QueryParams([*call.query.multi_items(), *form.multi_items()]))


def searchset(call: Call, page: Page[T], url: Callable[[T], str], render: Callable[[T], bytes]) -> Reply:
    more = {}
    if page.next_offset is not None:
        kept = [(name, value) for name, value in call.query.multi_items() if name != "_offset"]
        query = QueryParams([*kept, ("_offset", str(page.next_offset))])
        more["next"] = f"{call.url(call.path)}?{query}"
    entries = [bundles.match_entry(url(one), render(one)) for one in page.items]
    return Reply(body=bundles.searchset(entries, call.self_url, total=page.total, more=more))
