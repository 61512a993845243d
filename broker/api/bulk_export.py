"""Bulk exports over HTTP: `$export`, the status of an export, its files, and its cancellation.

FHIR Bulk Data Access 2.0: https://hl7.org/fhir/uv/bulkdata/STU2/export.html
"""

from collections.abc import Iterable
from email.utils import formatdate

import orjson

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.media import FHIR_NDJSON, NDJSON_TYPES
from broker.api.operation_input import instant_ms, read_input, single
from broker.clock import to_instant
from broker.errors import Issue, Malformed, NotFound
from broker.fhir.outcomes import operation_outcome
from broker.model.whole_number import whole_number
from broker.services.accessed import entity_of
from broker.services.bulk_export import BulkExportService, Export, ExportRequest

_PARAMETERS = {"_outputFormat", "_since", "_type", "_typeFilter", "_elements"}
_ERRORS = "errors"
_RETRY_AFTER_S = 2


class BulkExportHandlers:
    """The rows for exports. With `is_smart`, files need an access token, as everything does."""

    def __init__(self, exports: BulkExportService, *, is_smart: bool) -> None:
        self._exports = exports
        self._is_smart = is_smart

    async def start(self, request: FhirRequest) -> FhirResponse:
        """202 with the URL of the status."""
        if "respond-async" not in request.headers.get("prefer", "").lower():
            text = "An export is asynchronous. Send it with the header Prefer: respond-async."
            raise Malformed(Issue("required", text))
        job_id = await self._exports.start(request.principal, _asked(request))
        return FhirResponse(202, headers={"Content-Location": request.url(f"_export/{job_id}")})

    async def status(self, request: FhirRequest) -> FhirResponse:
        """202 with the progress, then 200 with the manifest."""
        export = await self._exports.find(request.principal, request.params["id"])
        expires = formatdate(export.record.expires_ms // 1_000, usegmt=True)
        if not export.is_complete:
            progress = f"{len(export.results)} of {len(export.record.files)} files checked"
            headers = {"X-Progress": progress, "Retry-After": str(_RETRY_AFTER_S)}
            return FhirResponse(202, headers=headers)
        manifest = orjson.dumps(self._manifest(request, export))
        return FhirResponse(200, manifest, {"Expires": expires}, media_type="application/json")

    def _manifest(self, request: FhirRequest, export: Export) -> dict[str, object]:
        base, record = request.url(f"_export/{export.id}"), export.record
        listed: dict[bool, list[dict[str, object]]] = {False: [], True: []}
        for number, file in enumerate(record.files):
            if count := export.results[number].count:
                kind = "Bundle" if file.has_deletions else file.type
                entry = {"type": kind, "url": f"{base}/{number}", "count": count}
                listed[file.has_deletions].append(entry)
        has_problems = any(result.problems for result in export.results.values())
        errors = [{"type": "OperationOutcome", "url": f"{base}/{_ERRORS}"}] if has_problems else []
        return {
            "transactionTime": to_instant(record.moment_ms),
            "request": record.request,
            "requiresAccessToken": self._is_smart,
            "output": listed[False],
            "deleted": listed[True],
            "error": errors,
        }

    async def cancel(self, request: FhirRequest) -> FhirResponse:
        """202; the export does not exist any more."""
        await self._exports.cancel(request.principal, request.params["id"])
        return FhirResponse(202)

    async def read(self, request: FhirRequest) -> FhirResponse:
        """One file of NDJSON: resources, deletions, or the outcomes of what could not be exported."""
        export = await self._exports.find(request.principal, request.params["id"])
        name = request.params["file"]
        if name == _ERRORS:
            return FhirResponse(200, _lines(_outcomes(export)), media_type=FHIR_NDJSON)
        number = whole_number(name)
        if number is None:
            raise NotFound(Issue("not-found", "The export has no such file. Read its status."))
        rendered = await self._exports.read(request.principal, export, number)
        accessed = tuple(map(entity_of, rendered.versions))
        return FhirResponse(
            200, _lines(rendered.lines), media_type=FHIR_NDJSON, accessed=accessed, audit_detail="$export"
        )


def _asked(request: FhirRequest) -> ExportRequest:
    values = read_input(request, _PARAMETERS, whole={"_typeFilter"})
    output = single(values, "_outputFormat")
    # an unescaped `+` of a query string arrives as a blank
    if output and output.replace(" ", "+") not in NDJSON_TYPES:
        text = f"_outputFormat takes {FHIR_NDJSON}, application/ndjson or ndjson, not {output[:40]!r}."
        raise Malformed(Issue("not-supported", text, "_outputFormat"))
    types = list(dict.fromkeys(each for text in values.get("_type", ()) for each in text.split(",") if each))
    for name in types:
        if name not in request.adapter.resource_types:
            text = f"{name[:64]!r} is not a resource type of FHIR {request.adapter.version}."
            raise Malformed(Issue("value", text, "_type"))
    since_ms = instant_ms(values, "_since")
    return ExportRequest(
        request.release,
        request.self_url,
        types,
        0 if since_ms is None else max(0, since_ms + 1),
        [_type_filter(request, text) for text in values.get("_typeFilter", ())],
        [each for text in values.get("_elements", ()) for each in text.split(",") if each],
    )


def _type_filter(request: FhirRequest, text: str) -> tuple[str, str]:
    name, mark, query = text.partition("?")
    if not mark or name not in request.adapter.resource_types:
        example = "Observation?category=vital-signs"
        text = f"_typeFilter takes a type and a query, such as {example}, not {text[:40]!r}."
        raise Malformed(Issue("value", text, "_typeFilter"))
    return name, query


def _outcomes(export: Export) -> Iterable[bytes]:
    for result in export.results.values():
        for problem in result.problems:
            text = f"{problem.reference} was not exported. {problem.text}"
            yield operation_outcome([Issue("not-supported", text)])


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
