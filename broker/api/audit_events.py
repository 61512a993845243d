"""AuditEvent: the audit trail as auditors read it. Nobody writes it through the API (decision 212)."""

import contextlib
from collections.abc import AsyncIterator

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse, version_headers
from broker.api.named_values import flag, render, text, whole
from broker.api.operation_input import read_input, single
from broker.errors import Issue, Malformed, MethodNotAllowed, NotFound, UnsupportedMedia
from broker.fhir import bundles
from broker.fhir.audit_events import render_audit_event
from broker.fhir.summaries import known_elements, summarize
from broker.model.audit import AuditEntity
from broker.model.whole_number import whole_number
from broker.services.audit import AuditService, Period, period_of
from broker.services.audit_fields import AUDIT_FIELDS
from broker.services.audit_query import AuditQuery
from broker.services.result_parameters import Parameters, parse_result_parameters
from broker.services.search import parse_search

NDJSON = "application/fhir+ndjson"
_TYPE = "AuditEvent"
_LINES = 100
"""Lines of an export that are sent together."""


class AuditEventHandlers:
    """The rows for AuditEvent."""

    def __init__(self, audit: AuditService) -> None:
        self._audit = audit

    async def search(self, request: FhirRequest) -> FhirResponse:
        """The newest entries first, unless `_sort=date`; a total only with `_total=accurate`."""
        if request.resource.text:
            reason = "The parameters of a search are in its URL, or in a form of a POST."
            raise UnsupportedMedia(Issue("not-supported", reason))
        parameters, is_strict = request.query.multi_items(), request.preferences.handling == "strict"
        search = parse_search(parameters, AUDIT_FIELDS[request.release], ignores_unsupported=not is_strict)
        shape = parse_result_parameters(
            parameters,
            sortable={"date"},
            elements=known_elements(request.release, _TYPE),
            is_strict=is_strict,
        )
        behind = whole_number(shape.page) if shape.page else 0
        if behind is None:
            reason = "The value of _page is invalid. Follow a link of an earlier response."
            raise Malformed(Issue("value", reason, "_page"))
        dates = [value for name, value in search.used if name in {"date", "_lastUpdated"}]
        has_total = shape.count == 0 or ("_total", "accurate") in shape.honoured
        page = await self._audit.search(
            request.principal,
            search.passes,
            period_of(dates),
            behind=behind,
            count=max(1, shape.count),
            is_ascending=bool(shape.sort) and not shape.sort[0].is_descending,
            has_total=has_total,
        )
        links = {"first": _link(request, search.used, shape.honoured)}
        if page.next:
            links["next"] = _link(request, search.used, [*shape.honoured, ("_page", str(page.next))])
        ignored = [*search.ignored, *shape.ignored]
        entries = [bundles.outcome_entry(ignored)] if ignored else []
        if shape.count:
            entries[:0] = [
                bundles.match_entry(
                    request.url(f"{_TYPE}/{entry.sequence}"),
                    summarize(request.release, render_audit_event(request.release, entry), shape.view),
                )
                for entry in page.entries
            ]
        shown = [*shape.honoured, *([("_page", shape.page)] if shape.page else [])]
        body = bundles.searchset(entries, _link(request, search.used, shown), total=page.total, links=links)
        patients = [value for name, value in search.used if name.partition(":")[0] == "patient"]
        return FhirResponse(body=body.text, accessed=_asked(patients))

    async def read(self, request: FhirRequest) -> FhirResponse:
        """One entry by its sequence number."""
        entry = await self._audit.read(request.principal, request.params["id"])
        return FhirResponse(
            200,
            render_audit_event(request.release, entry).text,
            version_headers(1, entry.recorded_ms),
            accessed=(AuditEntity(_TYPE, str(entry.sequence)),),
        )

    async def read_version(self, request: FhirRequest) -> FhirResponse:
        """The only version of an entry, which is 1."""
        if request.params["version"] != "1":
            reason = f"{request.path} does not exist: entries of the audit trail have version 1 only."
            raise NotFound(Issue("not-found", reason))
        return await self.read(request)

    async def export(self, request: FhirRequest) -> FhirResponse:
        """Every entry of a period as NDJSON, the oldest first, while it is read."""
        values = read_input(request, {"from", "to"})
        period = AuditQuery(start=single(values, "from"), end=single(values, "to")).period
        return FhirResponse(chunks=self._lines(request, period), media_type=NDJSON)

    async def _lines(self, request: FhirRequest, period: Period) -> AsyncIterator[bytes]:
        lines: list[bytes] = []
        async with contextlib.aclosing(self._audit.export(request.principal, period)) as entries:
            async for entry in entries:
                lines.append(render_audit_event(request.release, entry).text + b"\n")
                if len(lines) == _LINES:
                    yield b"".join(lines)
                    lines = []
        yield b"".join(lines)

    async def verify(self, request: FhirRequest) -> FhirResponse:
        """A part of the trail: where it came to, and the first entry that is not as it was written."""
        values = read_input(request, {"after", "recorded"})
        result = await self._audit.verify(
            request.principal, single(values, "after"), values.get("recorded", ())
        )
        problem = result.problem
        return FhirResponse(
            body=render(
                flag("complete", value=problem is not None or result.reached == result.head),
                text("first", str(result.first)),
                text("reached", str(result.reached)),
                text("head", str(result.head)),
                whole("problem-at", problem.sequence) if problem else [],
                text("problem", problem.text) if problem else [],
            )
        )

    async def refuse_write(self, _request: FhirRequest) -> FhirResponse:
        """The trail has one writer: what a client could write there would prove nothing."""
        reason = (
            "AuditEvent is the audit trail of the broker, which no client writes. "
            "Send the audit entries of another system to an audit repository."
        )
        raise MethodNotAllowed(Issue("not-supported", reason))


def _asked(patients: list[str]) -> tuple[AuditEntity, ...]:
    """The patients that a search asked for by id, for its own entry."""
    ids = [each.rpartition("/")[2] for value in patients for each in value.split(",")]
    return tuple(AuditEntity("Patient", each) for each in dict.fromkeys(ids) if each and len(each) <= 64)


def _link(request: FhirRequest, *parameters: Parameters) -> str:
    pairs = [pair for listed in parameters for pair in listed]
    return request.url(_TYPE) + (f"?{QueryParams(pairs)}" if pairs else "")
