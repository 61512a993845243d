"""Reads what another FHIR server answers to writes and searches. Pure; nothing in an answer is trusted.

A body is an OperationOutcome, a transaction-response, a searchset, or anything else: each reader says None
for what it does not understand. The channel `fhir-write` calls it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from broker.errors import Malformed
from broker.fhir.json_values import objects
from broker.model import json_text
from broker.model.resource import JsonObject, Resource

MAX_TEXT = 500
"""Characters of the summary of an OperationOutcome."""
_STATUS = re.compile(r"\s*([1-5][0-9]{2})(?![0-9])")
_LOCATION = re.compile(r"(?:.*/)?([A-Z][A-Za-z]*)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/?#]+)?/?")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._\-]{0,63}")
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9.\[\]]{0,199}")


class EntryAnswer(NamedTuple):
    """The answer to one entry of a transaction. `reference` is the `Type/id` it got; '' if it is not there.
    `summary` is that of its OperationOutcome, and `outcome` the whole if the entry was refused.
    """

    status: int
    reference: str = ""
    summary: str = ""
    outcome: bytes = b""


def outcome_summary(body: bytes) -> str | None:
    """The codes and places of the issues of an OperationOutcome, in one line; None if the body is none.

    Its texts are left out: servers repeat in them what they refuse, which may be about a person.
    """
    fields = _fields(body, "OperationOutcome")
    return None if fields is None else _summary_of(fields)


def is_resource(body: bytes) -> bool:
    """Whether the body looks like a FHIR resource, and not like the page of a proxy. Who needs what is in it
    parses it.
    """
    return body.lstrip().startswith(b"{") and b'"resourceType"' in body


def transaction_answers(body: bytes, entries: int) -> list[EntryAnswer] | None:
    """The answers to the entries of a transaction, in their order; None if the body is no response to a
    transaction of so many entries.
    """
    try:
        fields = Resource(body).copy()
    except Malformed:
        return None
    is_response = fields.get("resourceType") == "Bundle" and fields.get("type") == "transaction-response"
    listed = fields.get("entry")
    if not is_response or not isinstance(listed, list) or len(listed) != entries:
        return None
    answers = []
    for entry in listed:
        answer = _entry_answer(entry)
        if answer is None:
            return None
        answers.append(answer)
    if any(answer.status >= 400 for answer in answers):
        outcomes = _outcomes(body)
        return [
            answer._replace(outcome=outcome) if answer.status >= 400 else answer
            for answer, outcome in zip(answers, outcomes, strict=True)
        ]
    return answers


def reference_of(location: str) -> str:
    """The `Type/id` of a Location, absolute or not, with or without a version; '' if it has none."""
    match = _LOCATION.fullmatch(location)
    return "" if match is None else f"{match[1]}/{match[2]}"


def matches(body: bytes, resource_type: str) -> list[str] | None:
    """The matches of a searchset as `Type/id`, each once; None if the body is no searchset.

    Included resources and OperationOutcomes are no matches; an entry without a mode counts by its type.
    """
    fields = _fields(body, "Bundle")
    if fields is None or fields.get("type") != "searchset":
        return None
    found: dict[str, None] = {}
    for entry in objects(fields.get("entry", ())):
        resource, search = entry.get("resource"), entry.get("search")
        mode = search.get("mode") if isinstance(search, JsonObject) else None
        if not isinstance(resource, JsonObject) or mode not in {None, "match"}:
            continue
        resource_id = resource.get("id")
        if resource.get("resourceType") == resource_type and isinstance(resource_id, str):
            found[f"{resource_type}/{resource_id}"] = None
    return list(found)


def _entry_answer(entry: object) -> EntryAnswer | None:
    response = entry.get("response") if isinstance(entry, dict) else None
    if not isinstance(response, dict):
        return None
    status, location, outcome = (response.get(name) for name in ("status", "location", "outcome"))
    match = _STATUS.match(status) if isinstance(status, str) else None
    if match is None:
        return None
    return EntryAnswer(
        int(match[1]),
        reference_of(location) if isinstance(location, str) else "",
        _summary_of(JsonObject(outcome)) if isinstance(outcome, dict) else "",
    )


def _outcomes(body: bytes) -> list[bytes]:
    """The OperationOutcomes of the entries of a transaction-response, b'' for none, as they are spelled."""
    responses = [
        json_text.members(json_text.members(entry)["response"])
        for entry in json_text.items(json_text.members(body)["entry"])
    ]
    outcomes = [response.get("outcome", b"") for response in responses]
    return [outcome if outcome.startswith(b"{") else b"" for outcome in outcomes]


def _summary_of(outcome: JsonObject) -> str:
    """`severity code (places)` for each issue, those of errors first."""
    issues = list(objects(outcome.get("issue", ())))
    issues.sort(key=lambda issue: issue.get("severity") not in {"fatal", "error"})
    text = "; ".join(dict.fromkeys(filter(None, map(_issue_summary, issues))))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _issue_summary(issue: JsonObject) -> str:
    details = issue.get("details")
    codings = objects(details.get("coding", ())) if isinstance(details, JsonObject) else ()
    codes = [issue.get("severity"), issue.get("code"), *(coding.get("code") for coding in codings)]
    head = " ".join(code for code in codes if isinstance(code, str) and _CODE.fullmatch(code))
    places = ", ".join(_places(issue))
    return (head + (f" ({places})" if places else "")).strip()


def _places(issue: JsonObject) -> Iterator[str]:
    """Paths of elements. An expression with a value in it is left out."""
    for name in ("expression", "location"):
        value = issue.get(name)
        if isinstance(value, tuple) and value:
            yield from (place for place in value if isinstance(place, str) and _PLACE.fullmatch(place))
            return


def _fields(body: bytes, resource_type: str) -> JsonObject | None:
    try:
        fields = Resource(body).fields
    except Malformed:
        return None
    return fields if fields.get("resourceType") == resource_type else None
