"""Bundles posted to a base: `batch`, whose entries succeed or fail alone, and `transaction`, all entries or
none.

Each entry is a `FhirRequest` of its own and passes the interaction table and its access check like a single
request.
"""

import asyncio
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from starlette.datastructures import QueryParams

from broker.api.dispatch import InteractionTable
from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.failures import failure, respond
from broker.api.media import FHIR_JSON
from broker.api.resources import ResourceHandlers
from broker.errors import Issue, MethodNotAllowed, RequestError, Unprocessable
from broker.fhir.bundle_requests import BundleEntry, parse_bundle
from broker.fhir.bundle_responses import BundleResult, render_bundle_response
from broker.fhir.identity import check_type
from broker.fhir.references import conditional_references
from broker.ingest.transactions import TransactionEntry, located_at
from broker.model.access import Access, authorize
from broker.model.json_text import LARGE_BYTES
from broker.model.resource import Resource
from broker.tasks import Slices, end

_PHRASES = {200: "200 OK", 201: "201 Created", 204: "204 No Content", 304: "304 Not Modified"}
_SEARCH = Access(scope="system/{type}.s")
_TOGETHER = 20
"""Entries of a batch that start in one turn of the event loop."""
_NOT_IN_TRANSACTIONS = ("Subscription", "SubscriptionTopic")


class BundleHandlers:
    """The row for Bundles. `table` answers the entries of a batch and plans those of a transaction."""

    def __init__(self, table: InteractionTable, resources: ResourceHandlers, max_entries: int) -> None:
        self._table = table
        self._resources = resources
        self._max_entries = max_entries

    async def receive(self, request: FhirRequest) -> FhirResponse:
        """200 with one result an entry, in their order."""
        check_type(request.resource, "Bundle")
        if len(request.resource.text) >= LARGE_BYTES:
            bundle = await asyncio.to_thread(parse_bundle, request.resource, self._max_entries)
        else:
            bundle = parse_bundle(request.resource, self._max_entries)
        if bundle.type == "batch":
            results = await self._perform_all(request, bundle.entries)
        else:
            results = await self._transact(request, bundle.entries)
        return FhirResponse(body=render_bundle_response(bundle.type, results))

    async def _perform_all(self, request: FhirRequest, entries: Sequence[BundleEntry]) -> list[BundleResult]:
        """The entries of a batch, side by side."""
        tasks: list[asyncio.Task[BundleResult]] = []
        try:
            for entry in entries:
                tasks.append(asyncio.create_task(self._perform(request, entry)))
                if len(tasks) % _TOGETHER == 0:
                    await asyncio.sleep(0)  # other requests go on between the entries of a large Bundle
            return list(await asyncio.gather(*tasks))
        finally:
            await end(tasks)

    async def _perform(self, request: FhirRequest, entry: BundleEntry) -> BundleResult:
        """One entry of a batch; its failure is its own."""
        try:
            entry_request = _entry_request(request, entry)
        except RequestError as error:
            return _result(failure(error))
        if entry_request.path.endswith("/$stream"):
            text = "A batch cannot contain an event stream. Open it by a request of its own."
            return _result(failure(MethodNotAllowed(Issue("not-supported", text))))
        response = await respond(self._table.dispatch, entry_request)
        if response.after is not None:
            await response.after()
        return _result(response)

    async def _transact(self, request: FhirRequest, entries: tuple[BundleEntry, ...]) -> list[BundleResult]:
        """Submits all entries together."""
        planned, slices = [], Slices()
        for n, entry in enumerate(entries):
            planned.append(await self._plan(request, entry, n))
            await slices.pause()
        results, slices = [], Slices()
        for response in await self._resources.transact(request, planned):
            results.append(_result(response))
            await slices.pause()
        return results

    async def _plan(self, request: FhirRequest, entry: BundleEntry, n: int) -> TransactionEntry:
        """The change that the entry asks for; raises `RequestError` that names the entry."""
        try:
            entry_request = _entry_request(request, entry, n)
            interaction, entry_request = await self._table.resolve_audited(entry_request)
            if interaction.plan is None:
                raise _not_in_transactions(entry_request)
            _authorize_references(entry_request)
            return TransactionEntry(interaction.plan(entry_request), entry.full_url)
        except RequestError as error:
            raise type(error)(*(located_at(issue, n) for issue in error.issues)) from None


def _entry_request(request: FhirRequest, entry: BundleEntry, n: int | None = None) -> FhirRequest:
    """The entry as a request: its path below the base, its headers, its resource.

    An Idempotency-Key of the transaction holds for its entry `n` under a key of its own.
    """
    parts, base = urlsplit(entry.url), urlsplit(request.base)
    path = parts.path
    if parts.scheme:
        if (parts.scheme, parts.netloc) != (base.scheme, base.netloc) or not path.startswith(f"{base.path}/"):
            text = f"{entry.url} is not a URL of this base. Send a URL relative to {request.base}."
            raise Unprocessable(Issue("invalid", text))
        path = path.removeprefix(base.path)
    path = path.lstrip("/")
    if not path:
        text = f"The URL {entry.url!r} names the base itself. A Bundle cannot contain a Bundle."
        raise MethodNotAllowed(Issue("not-supported", text))
    key = request.idempotency_key
    headers = {
        "accept": FHIR_JSON,
        "if-match": entry.if_match,
        "if-none-match": entry.if_none_match,
        "if-none-exist": entry.if_none_exist,
        "if-modified-since": entry.if_modified_since,
        "prefer": request.headers.get("prefer", ""),
        "idempotency-key": f"{key}#{n}" if key and n is not None else "",
    }
    return request._replace(
        method="GET" if entry.method == "HEAD" else entry.method,
        path=path,
        query=QueryParams(parts.query),
        headers={name: value for name, value in headers.items() if value},
        resource=entry.resource or Resource(b""),
    )


def _authorize_references(request: FhirRequest) -> None:
    """A conditional reference is resolved by a search for its target."""
    if request.resource.text and not _SEARCH.is_met_by(request.principal):
        for reference in conditional_references(request.resource):
            authorize(request.principal, _SEARCH, reference.type)


def _not_in_transactions(request: FhirRequest) -> RequestError:
    resource_type = request.path.partition("/")[0]
    if resource_type in _NOT_IN_TRANSACTIONS:
        text = f"A transaction cannot contain a {resource_type}. Send it on its own or in a batch."
        return Unprocessable(Issue("not-supported", text))
    text = (
        f"A transaction cannot contain {request.method} {request.path}. "
        "Send POST Type, PUT Type/id or DELETE Type/id, or use a batch."
    )
    return MethodNotAllowed(Issue("not-supported", text))


def _result(response: FhirResponse) -> BundleResult:
    is_outcome = response.status >= 400 or response.is_outcome
    modified = response.headers.get("Last-Modified")
    return BundleResult(
        status=_PHRASES.get(response.status, str(response.status)),
        location=response.headers.get("Location"),
        etag=response.headers.get("ETag"),
        last_modified_ms=int(parsedate_to_datetime(modified).timestamp() * 1000) if modified else None,
        resource=None if is_outcome or not response.body else Resource(response.body),
        outcome=response.body if is_outcome else None,
    )
