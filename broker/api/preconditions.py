"""What a write may be conditional on: headers and criteria that its row of the table honours.

A precondition or parameter that a row does not honour is refused here, once for all rows. Ignoring it would
overwrite, delete or duplicate what the client meant to protect. `InteractionTable.resolve` calls it for
single requests, and for entries of batches and transactions.
"""

from typing import NamedTuple, TypeVar

from broker.api.exchange import FhirRequest
from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.criteria import (
    RESPONSE_PARAMETERS,
    Criteria,
    condition_parameters,
    parse_condition,
    parse_criteria,
)
from broker.fhir.search_parameters import SearchParameters
from broker.services.search import Fields
from broker.services.search_criteria import SearchCriteria, search_criteria

T = TypeVar("T")


class Honoured(NamedTuple):
    """The precondition headers that a row honours, and whether it reads the parameters of its URL itself."""

    headers: frozenset[str] = frozenset()
    reads_parameters: bool = False


_VERSION = frozenset({"if-match", "if-none-match"})
OPERATION = Honoured(reads_parameters=True)
"""Operations and searches by POST."""
NOTHING = Honoured()
AS_CREATE = Honoured(frozenset({"if-none-exist"}))
BY_ID = Honoured(_VERSION)
BY_CRITERIA = Honoured(_VERSION, reads_parameters=True)
_NAMES = {
    "if-match": "If-Match",
    "if-none-match": "If-None-Match",
    "if-none-exist": "If-None-Exist",
    "if-unmodified-since": "If-Unmodified-Since",
}
_TABLE = SearchParameters()


def refuse_others(request: FhirRequest, honoured: Honoured) -> None:
    """Raises `Unprocessable` for a precondition header, `Malformed` for a parameter, that is not honoured."""
    _refuse_headers(request, honoured.headers)
    if request.query and not honoured.reads_parameters:
        _refuse_parameters(request)


def _refuse_headers(request: FhirRequest, honoured: frozenset[str]) -> None:
    for header, name in _NAMES.items():
        if header in request.headers and header not in honoured:
            supported = ", ".join(_NAMES[each] for each in sorted(honoured)) or "no precondition"
            text = (
                f"{name} is not supported on {request.method} {request.path or 'a base'}, "
                f"which takes {supported}. Leave it out."
            )
            raise Unprocessable(Issue("not-supported", text))


def _refuse_parameters(request: FhirRequest) -> None:
    """Only parameters that shape the response are accepted.

    `Prefer: handling=lenient` allows unknown parameters; search parameters of the type are refused still,
    because a client that sends them means a conditional request.
    """
    for name, _ in request.query.multi_items():
        if name in RESPONSE_PARAMETERS:
            continue
        resource_type, code = request.path.partition("/")[0], name.partition(":")[0]
        if request.is_lenient and _TABLE.find(request.release, resource_type, code) is None:
            continue
        advice = "Leave it out."
        if request.method == "POST" and request.path:
            advice = f"Send the criteria of a conditional create in If-None-Exist: {name}=…"
        place = request.path or "a base"
        text = f"The parameter {name!r} is not supported on {request.method} {place}. {advice}"
        raise Malformed(Issue("not-supported", text))


def has_criteria(request: FhirRequest) -> bool:
    """Whether the URL of an update or delete has criteria instead of an id."""
    return any(name not in RESPONSE_PARAMETERS for name in request.query)


def search_of_create(request: FhirRequest, resource_type: str, fields: Fields[T]) -> SearchCriteria[T] | None:
    """The criteria of If-None-Exist for what the broker itself holds, None without it."""
    text = _if_none_exist(request)
    return None if text is None else search_criteria(condition_parameters(text, resource_type), fields)


def criteria_of_create(request: FhirRequest) -> Criteria | None:
    """The criteria of If-None-Exist, None without it."""
    text = _if_none_exist(request)
    return None if text is None else parse_condition(text, request.params["type"])


def criteria_of_url(request: FhirRequest) -> Criteria:
    """The criteria of a conditional update or delete."""
    return parse_criteria(request.query.multi_items(), request.method)


def _if_none_exist(request: FhirRequest) -> str | None:
    """The header's text. Some clients send UTF-8 in it, which HTTP reads as Latin-1."""
    text = request.headers.get("if-none-exist")
    if text is None or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
