"""Submits the changes of a transaction Bundle: all of them or none (R-401).

Every id is planned and every condition resolved before anything is written, so that entries may refer to each
other by `fullUrl` and to stored resources by search; then one script writes all changes. FHIR's order of
processing holds: deletes, creates, updates. Called for Bundles posted to a base and put on the inbox stream.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from broker.errors import Conflict, Issue, PreconditionFailed, RequestError, Unprocessable
from broker.fhir.criteria import parse_condition
from broker.fhir.references import ConditionalReference, conditional_references, patient_reference
from broker.fhir.release import adapter
from broker.fhir.transaction_links import LinkTargets, link_targets, replace_links, targets_of_entry
from broker.ingest.acceptance import MatchChanged
from broker.ingest.conditions import MAX_ATTEMPTS
from broker.ingest.intake import Intake
from broker.ingest.requests import Admission, ChangeRequest
from broker.store import keys
from broker.tasks import Slices

_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]")
_ORDER = ("delete", "create", "put")


@dataclass(frozen=True, slots=True)
class TransactionEntry:
    """The change of one entry, and the URL by which other entries refer to its resource ('' without one)."""

    request: ChangeRequest
    full_url: str = ""


async def submit_transaction(intake: Intake, entries: Sequence[TransactionEntry]) -> list[Admission]:
    """One admission an entry, in the order of the entries; raises `RequestError`s that name the entries."""
    changed = ""
    for attempt in range(MAX_ATTEMPTS):
        try:
            return await _submit(intake, entries, attempt)
        except MatchChanged as error:
            changed = str(error)
    text = f"{changed}, which a condition of the transaction names, keeps changing. Retry the transaction."
    raise Conflict(Issue("conflict", text))


async def _submit(intake: Intake, entries: Sequence[TransactionEntry], attempt: int) -> list[Admission]:
    stored = await _stored_targets(intake, entries)
    resolved = await _resolve(
        intake, entries, attempt, _placement([each.request for each in entries], stored)
    )
    planned = [each.request if isinstance(each, Admission) else each for each in resolved]
    settled = {n: each for n, each in enumerate(resolved) if isinstance(each, Admission)}
    _refuse_repeated(planned, settled)
    references = _reference_targets(entries, planned, settled, stored)
    urls = link_targets(
        {
            entry.full_url: f"{request.type}/{settled[n].existing_id if n in settled else request.id}"
            for n, (entry, request) in enumerate(zip(entries, planned, strict=True))
            if n not in settled or settled[n].existing_id
        }
    )
    writes = [
        (n, _with_links(request, targets_of_entry(entries[n].full_url, urls, references)))
        for n, request in enumerate(planned)
        if n not in settled
    ]
    writes.sort(key=lambda write: _ORDER.index(write[1].op))
    try:
        admitted = await intake.admit_together([request for _, request in writes])
    except RequestError as error:
        raise _located(intake, error, writes) from None
    admissions = {n: admission for (n, _), admission in zip(writes, admitted, strict=True)}
    return [(settled | admissions)[n] for n in range(len(entries))]


def _with_links(request: ChangeRequest, targets: LinkTargets) -> ChangeRequest:
    if request.resource is None:
        return request
    return request._replace(resource=replace_links(request.resource, targets))


async def _resolve(
    intake: Intake, entries: Sequence[TransactionEntry], attempt: int, placement: int
) -> list[ChangeRequest | Admission]:
    """The requests with the ids of what they write; an `Admission` for one that has nothing to write."""

    def plan_id(request: ChangeRequest) -> str:
        return intake.plan_id(request, placement)

    resolved: list[ChangeRequest | Admission] = []
    slices = Slices()
    for n, entry in enumerate(entries):
        request = entry.request
        try:
            if request.is_about_stored:
                resolved.append(await intake.resolve(request, plan_id, attempt))
                continue
        except RequestError as error:
            raise type(error)(*(located_at(issue, n) for issue in error.issues)) from None
        resolved.append(request._replace(id=plan_id(request)) if request.op == "create" else request)
        await slices.pause()
    return resolved


async def _stored_targets(
    intake: Intake, entries: Sequence[TransactionEntry]
) -> Mapping[ConditionalReference, str]:
    """The references by search whose match is stored, with its `Type/id`; several matches are refused."""
    targets: dict[str, str] = {}
    stored: dict[ConditionalReference, str] = {}
    for n, entry in enumerate(entries):
        request = entry.request
        for reference in _conditional_references(request):
            if reference.text not in targets:
                try:
                    targets[reference.text] = await _find_stored(intake, request, reference)
                except RequestError as error:
                    issues = (replace(issue, expression=reference.element) for issue in error.issues)
                    raise type(error)(*(located_at(issue, n) for issue in issues)) from None
            stored[reference] = targets[reference.text]
    return stored


async def _find_stored(intake: Intake, request: ChangeRequest, reference: ConditionalReference) -> str:
    if reference.type not in adapter(request.release).resource_types:
        raise Unprocessable(
            Issue("value", f"{reference.type!r} is not a resource type. Send Type?identifier=….")
        )
    criteria = parse_condition(reference.text, reference.type, "The reference")
    version = await intake.conditions.match(request.tenant, reference.type, criteria)
    return "" if version is None else version.key.reference


def _conditional_references(request: ChangeRequest) -> list[ConditionalReference]:
    return [] if request.resource is None else conditional_references(request.resource)


def _reference_targets(
    entries: Sequence[TransactionEntry],
    planned: Sequence[ChangeRequest],
    settled: Mapping[int, Admission],
    stored: Mapping[ConditionalReference, str],
) -> dict[str, str]:
    """The one target of each reference by search, as it will be after the transaction.

    Raises `PreconditionFailed` that names the element, for none or several.
    """
    written = {
        f"{request.type}/{request.id}": request for n, request in enumerate(planned) if n not in settled
    }
    targets: dict[str, str] = {}
    for n, entry in enumerate(entries):
        for reference in _conditional_references(entry.request):
            if reference.text in targets or n in settled:
                continue
            criteria = parse_condition(reference.text, reference.type, "The reference")
            matches = {stored[reference]} - {"", *written}
            matches |= {
                name
                for name, request in written.items()
                if request.type == reference.type
                and request.resource is not None
                and criteria.is_met_by(request.id, request.resource)
            }
            if len(matches) != 1:
                text = f"{len(matches)} resources match {reference.text}. A reference needs exactly one."
                issue = Issue("multiple-matches" if matches else "not-found", text, reference.element)
                raise PreconditionFailed(located_at(issue, n))
            targets[reference.text] = matches.pop()
    return targets


def _placement(requests: Sequence[ChangeRequest], stored: Mapping[ConditionalReference, str]) -> int:
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
    for target in stored.values():
        if target.startswith("Patient/"):
            return keys.placement(tenant, target.removeprefix("Patient/"))
    seeds = [request.id for request in requests] + [request.idempotency_key for request in requests]
    return keys.placement(tenant, next(filter(None, seeds), uuid.uuid4().hex))


def _refuse_repeated(requests: Sequence[ChangeRequest], settled: Mapping[int, Admission]) -> None:
    entry_of: dict[tuple[str, str], int] = {}
    for n, request in enumerate(requests):
        if n in settled:
            continue
        name = request.type, request.id
        if name in entry_of:
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
