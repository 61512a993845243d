"""The input of operations that take plain values: query parameters and a Parameters resource alike
(R-362).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from broker.api.exchange import FhirRequest
from broker.errors import Issue, Malformed
from broker.fhir.element_reader import ElementReader
from broker.fhir.identity import check_type
from broker.model.whole_number import whole_number

Input = Mapping[str, Sequence[str]]
"""Parameter name -> its values, in the order they were sent."""
_OF_EVERY_REQUEST = {"_format", "_pretty"}


def read_input(request: FhirRequest, supported: set[str], whole: Collection[str] = ()) -> Input:
    """The parameters; raises `Malformed` for one that is not supported, or has no plain value.

    In the query, commas separate values, except of a parameter that is `whole`; one may be repeated in both.
    """
    values: dict[str, list[str]] = {}
    for name, text in request.query.multi_items():
        if name not in _OF_EVERY_REQUEST:
            parts = [text] if name in whole else text.split(",")
            values.setdefault(name, []).extend(part for part in parts if part)
    if request.resource.text:
        for name, text in _of_resource(request):
            values.setdefault(name, []).append(text)
    for name in values:
        if name not in supported:
            names = f"Use one of: {', '.join(sorted(supported))}." if supported else "Send none."
            text = f"The parameter {name!r} is not supported. {names}"
            raise Malformed(Issue("not-supported", text, name))
    return values


def pairs(request: FhirRequest) -> list[tuple[str, str]]:
    """The parameters as sent, for an operation that takes those of a search; raises `Malformed`."""
    sent = request.query.multi_items()
    return [*sent, *_of_resource(request)] if request.resource.text else sent


def _of_resource(request: FhirRequest) -> list[tuple[str, str]]:
    check_type(request.resource, "Parameters")
    root = ElementReader(request.resource.fields, "Parameters")
    values = []
    for parameter in root.objects("parameter"):
        name = parameter.string("name", required=True)
        value = next((value for key, value in parameter.fields.items() if key.startswith("value")), None)
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str | int):
            parameter.refuse("value", f"The parameter {name} takes a plain value. Send a value[x].", "value")
        elif name:
            values.append((name, str(value)))
    root.finish()
    return values


def single(values: Input, name: str) -> str:
    """The only value of a parameter, '' without one; raises `Malformed`."""
    sent = values.get(name, ())
    if len(sent) > 1:
        raise Malformed(Issue("value", f"{name} is repeated. Send it once.", name))
    return sent[0] if sent else ""


def event_number(values: Input, name: str) -> int | None:
    """An event number; raises `Malformed`."""
    sent = values.get(name, ())
    if not sent:
        return None
    number = whole_number(sent[0])
    if len(sent) > 1 or number is None:
        raise Malformed(Issue("value", f"{name} takes one event number, a whole number.", name))
    return number


def instant_ms(values: Input, name: str) -> int | None:
    """An instant as ms since the epoch; raises `Malformed`."""
    sent = values.get(name, ())
    if not sent:
        return None
    try:
        # the `+` of an offset arrives as a blank where the client did not escape it
        moment = datetime.fromisoformat(sent[0].replace(" ", "+"))
        at_ms = int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):  # the calendar's first and last day are out of range in other zones
        moment, at_ms = None, None
    if len(sent) > 1 or moment is None or moment.tzinfo is None or "T" not in sent[0]:
        raise Malformed(Issue("value", f"{name} takes one instant with its offset from UTC.", name))
    return at_ms
