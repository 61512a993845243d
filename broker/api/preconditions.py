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
    parse_criteria,
)
from broker.fhir.search_parameters import SearchParameters
from broker.model.access import Access
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
AS_CREATE = Honoured(frozenset({"if-none-exist"}), reads_parameters=True)
BY_ID = Honoured(_VERSION)
BY_CRITERIA = Honoured(_VERSION, reads_parameters=True)
_NAMES = {
    "if-match": "If-Match",
    "if-none-match": "If-None-Match",
    "if-none-exist": "If-None-Exist",
    "if-unmodified-since": "If-Unmodified-Since",
}
_TABLE = SearchParameters()
_SEARCH = Access(scope="system/{type}.s")
_SEARCH_AND_READ = Access(scope="system/{type}.rs")


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
    """Only parameters that shape the response are accepted; unknown ones with `Prefer: handling=lenient`."""
    for name, _ in _criteria_parameters(request):
        place = request.path or "a base"
        text = f"The parameter {name!r} is not supported on {request.method} {place}. Leave it out."
        raise Malformed(Issue("not-supported", text))


def _criteria_parameters(request: FhirRequest) -> list[tuple[str, str]]:
    """The parameters of the URL that select resources.

    `Prefer: handling=lenient` leaves out those that the type does not know, but no search parameter of it: a
    client that sends one means a conditional request.
    """
    resource_type = request.path.partition("/")[0]
    return [
        (name, value)
        for name, value in request.query.multi_items()
        if name not in RESPONSE_PARAMETERS
        and not (
            request.preferences.handling == "lenient"
            and _TABLE.find(request.release, resource_type, name.partition(":")[0]) is None
        )
    ]


def access_to_criteria(request: FhirRequest, honoured: Honoured) -> Access | None:
    """What a conditional request needs besides the access of its row; None for any other request.

    Its answer says whether a resource meets the criteria, as a search does. A conditional create answers with
    the match.
    """
    if honoured is AS_CREATE and ("if-none-exist" in request.headers or _criteria_parameters(request)):
        return _SEARCH_AND_READ
    return _SEARCH if honoured is BY_CRITERIA else None


def has_criteria(request: FhirRequest) -> bool:
    """Whether the URL of an update or delete has criteria instead of an id."""
    return any(name not in RESPONSE_PARAMETERS for name in request.query)


def search_of_create(request: FhirRequest, resource_type: str, fields: Fields[T]) -> SearchCriteria[T] | None:
    """The criteria of a conditional create of what the broker itself holds, None without any."""
    parameters = _parameters_of_create(request, resource_type)
    return None if parameters is None else search_criteria(parameters, fields)


def criteria_of_create(request: FhirRequest) -> Criteria | None:
    """The criteria of a conditional create, None without any."""
    parameters = _parameters_of_create(request, request.params["type"])
    return None if parameters is None else parse_criteria(parameters, "If-None-Exist")


def criteria_of_url(request: FhirRequest) -> Criteria:
    """The criteria of a conditional update or delete."""
    return parse_criteria(request.query.multi_items(), request.method)


def _parameters_of_create(request: FhirRequest, resource_type: str) -> list[tuple[str, str]] | None:
    """The search parameters of If-None-Exist or, as some clients send them, of the URL; None without any."""
    text, in_url = _if_none_exist(request), _criteria_parameters(request)
    if text is not None and in_url:
        raise Malformed(
            Issue("conflict", "There are criteria in If-None-Exist and in the URL. Send one of them.")
        )
    if text is None:
        return in_url or None
    return condition_parameters(text, resource_type)


def _if_none_exist(request: FhirRequest) -> str | None:
    """The header's text. Some clients send UTF-8 in it, which HTTP reads as Latin-1."""
    text = request.headers.get("if-none-exist")
    if text is None or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
