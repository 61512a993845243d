"""Submits the changes of a transaction Bundle: all of them or none (R-401).

Every id is planned before anything is written, so that entries may refer to each other by `fullUrl`; then one
script writes all changes. FHIR's order of processing holds: deletes, creates, updates.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from broker.errors import Issue, RequestError, Unprocessable
from broker.fhir.references import patient_reference, replace_references
from broker.ingest.intake import Intake
from broker.ingest.requests import Admission, ChangeRequest
from broker.store import keys

_LOCAL_URL = re.compile(r"urn:uuid:[0-9a-fA-F-]{36}|urn:oid:[0-9.]+")
_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]")
_ORDER = ("delete", "create", "put")


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """The change of one entry, and the URL by which other entries refer to its resource ('' without one)."""

    request: ChangeRequest
    full_url: str = ""


async def submit_transaction(intake: Intake, entries: Sequence[TransactionEntry]) -> list[Admission]:
    """One admission an entry, in the order of the entries; raises `RequestError`s that name the entries."""
    _refuse_repeated([entry.request for entry in entries])
    planned, existing = await _plan(intake, entries)
    references = {
        entry.full_url: f"{request.type}/{existing.get(n) or request.id}"
        for n, (entry, request) in enumerate(zip(entries, planned, strict=True))
        if _LOCAL_URL.fullmatch(entry.full_url)
    }
    writes = [
        (n, _with_references(request, references)) for n, request in enumerate(planned) if n not in existing
    ]
    writes.sort(key=lambda write: _ORDER.index(write[1].op))
    try:
        admitted = await intake.admit_together([request for _, request in writes])
    except RequestError as error:
        raise _located(intake, error, writes) from None
    admissions = {n: admission for (n, _), admission in zip(writes, admitted, strict=True)}
    return [admissions.get(n) or Admission(request, None, existing[n]) for n, request in enumerate(planned)]


def _with_references(request: ChangeRequest, references: Mapping[str, str]) -> ChangeRequest:
    if request.resource is None:
        return request
    return request._replace(resource=replace_references(request.resource, references))


async def _plan(
    intake: Intake, entries: Sequence[TransactionEntry]
) -> tuple[list[ChangeRequest], dict[int, str]]:
    """The requests with the ids of their creates, and the ids of those whose condition a stored resource
    meets.
    """
    requests = [entry.request for entry in entries]
    placement = _placement(requests)
    existing: dict[int, str] = {}
    for n, request in enumerate(requests):
        if request.op != "create":
            continue
        stored_id = await intake.find_existing(request) if request.condition else ""
        if stored_id:
            existing[n] = stored_id
        else:
            requests[n] = request._replace(id=intake.plan_id(request, placement))
    return requests, existing


def _placement(requests: Sequence[ChangeRequest]) -> int:
    """One placement for all ids that are assigned here, so that a Cluster writes one partition.

    It is that of the patient the Bundle names, else that of an id the client chose.
    """
    if not requests:
        return 0
    tenant = requests[0].tenant
    for request in requests:
        patient = patient_reference(request.resource) if request.resource is not None else None
        if patient:
            return keys.placement(tenant, patient.removeprefix("Patient/"))
    seeds = [request.id for request in requests] + [request.idempotency_key for request in requests]
    return keys.placement(tenant, next(filter(None, seeds), uuid.uuid4().hex))


def _refuse_repeated(requests: Sequence[ChangeRequest]) -> None:
    entry_of: dict[tuple[str, str], int] = {}
    for n, request in enumerate(requests):
        name = request.type, request.id
        if request.id and name in entry_of:
            text = (
                f"{request.type}/{request.id} is also in entry {entry_of[name]}. Send one change a resource."
            )
            raise Unprocessable(Issue("duplicate", text, f"Bundle.entry[{n}]"))
        entry_of[name] = n


def located_at(issue: Issue, n: int) -> Issue:
    """The issue with its element as seen from the Bundle: `Patient.active` becomes
    `Bundle.entry[2].resource.active`.
    """
    place = f"Bundle.entry[{n}].request"
    if issue.expression:
        path = issue.expression
        inside = path.partition(".")[2] if path[0].isupper() else path
        place = f"Bundle.entry[{n}].resource" + (f".{inside}" if inside else "")
    return replace(issue, expression=place)


def _located(
    intake: Intake, error: RequestError, writes: Sequence[tuple[int, ChangeRequest]]
) -> RequestError:
    """The refusal of the ordered writes, with the elements of the entries they came from."""
    matches = [_ENTRY.match(issue.expression or "") for issue in error.issues]
    if all(matches):
        places = [f"Bundle.entry[{writes[int(match[1])][0]}]" for match in matches if match]
        return type(error)(
            *(replace(issue, expression=place) for issue, place in zip(error.issues, places, strict=True))
        )
    for n, request in writes:
        try:
            intake.validate(request)
        except RequestError as own:
            return type(own)(*(located_at(issue, n) for issue in own.issues))
    return error
