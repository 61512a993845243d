"""How a simulated EHR searches: a plain walk over the resources, one function a search parameter.

It shares no code with the broker's own search and filters, so that tests can compare the two.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.testing.ehr_outcomes import EhrRefusal

Resource = Mapping[str, Any]
Query = Sequence[tuple[str, str]]
Read = Callable[[str], Resource | None]
"""The current resource of a reference `Type/id`; None if there is none."""

CONTROLS = frozenset({"_count", "_skip", "_sort", "_format", "_summary", "_total", "_elements", "_include"})
_REFERENCES: Mapping[str, tuple[str, ...]] = {
    "patient": ("subject", "patient", "for", "beneficiary"),
    "subject": ("subject",),
    "device": ("device",),
    "encounter": ("encounter",),
    "performer": ("performer",),
}
_TOKENS: Mapping[str, str] = {
    "_id": "id",
    "_profile": "meta.profile",
    "_tag": "meta.tag",
    "category": "category",
    "code": "code",
    "identifier": "identifier",
    "status": "status",
    "type": "type",
    "active": "active",
}
_DATES: Mapping[str, tuple[str, ...]] = {
    "_lastUpdated": ("meta.lastUpdated",),
    "date": ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "period", "issued"),
}
_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb)?(\d{4}.*)")


def search_parameters() -> list[dict[str, str]]:
    """What a CapabilityStatement lists for a type."""
    return [
        {"name": name, "type": kind}
        for names, kind in ((_REFERENCES, "reference"), (_TOKENS, "token"), (_DATES, "date"))
        for name in names
    ]


def matches(resource: Resource, query: Query, read: Read) -> bool:
    """Whether a resource fits each parameter. Raises `EhrRefusal` for one that the EHR does not search by."""
    return all(_fits(resource, name, value, read) for name, value in query if name not in CONTROLS)


def _fits(resource: Resource, name: str, text: str, read: Read) -> bool:
    base, _, chained = name.partition(".")
    parameter, _, modifier = base.partition(":")
    values = _split(text, ",")
    if chained:
        targets = [read(reference) for reference in _references(resource, parameter)]
        return any(target is not None and _fits(target, chained, text, read) for target in targets)
    if parameter in _REFERENCES and modifier in {"", "Patient", "Device", "identifier"}:
        if modifier == "identifier":
            identifiers = [each.get("identifier", {}) for each in _reference_elements(resource, parameter)]
            return any(_is_token(each, value) for each in identifiers for value in values)
        names = list(_references(resource, parameter))
        return any(_refers(each, value) for each in names for value in values)
    if parameter in _TOKENS and modifier in {"", "not"}:
        fits = any(_is_token(each, value) for each in _walk(resource, _TOKENS[parameter]) for value in values)
        return fits is (modifier == "")
    if parameter in _DATES and not modifier:
        times = [time for path in _DATES[parameter] for time in _walk(resource, path)]
        return any(_is_in_time(each, value) for each in times for value in values)
    raise EhrRefusal(400, "not-supported", f"The EHR does not search by {name}.")


def _walk(value: object, path: str) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _walk(each, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        head, _, rest = path.partition(".")
        if head in value:
            yield from _walk(value[head], rest)


def _reference_elements(resource: Resource, parameter: str) -> Iterator[Mapping[str, Any]]:
    for path in _REFERENCES[parameter]:
        yield from _walk(resource, path)


def _references(resource: Resource, parameter: str) -> Iterator[str]:
    """The references as `Type/id`."""
    if parameter not in _REFERENCES:
        raise EhrRefusal(400, "not-supported", f"The EHR does not search by {parameter}.")
    for element in _reference_elements(resource, parameter):
        reference = element.get("reference", "").partition("/_history/")[0]
        if reference:
            yield "/".join(reference.split("/")[-2:])


def _refers(reference: str, value: str) -> bool:
    wanted = "/".join(value.split("/")[-2:])
    return reference == wanted if "/" in wanted else reference.rpartition("/")[2] == wanted


def _is_token(element: object, value: str) -> bool:
    """Whether a code, Coding, CodeableConcept or Identifier is `code`, `system|` or `system|code`."""
    if isinstance(element, Mapping) and "coding" in element:
        return any(_is_token(coding, value) for coding in element["coding"])
    if isinstance(element, Mapping):
        system, code = element.get("system", ""), element.get("code", element.get("value", ""))
    else:
        system, code = "", str(element).lower() if isinstance(element, bool) else str(element)
    *systems, wanted = (_unescaped(part) for part in _split(value, "|"))
    if not systems or not isinstance(element, Mapping):
        return bool(code == _unescaped(value))
    return bool(system == systems[0] and wanted in {"", code})


def _split(text: str, separator: str) -> list[str]:
    """At the separators that are not escaped by a backslash."""
    return re.split(rf"(?<!\\)\{separator}", text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\|,$])", r"\1", text)


def _is_in_time(element: object, value: str) -> bool:
    match = _PREFIXED.fullmatch(value)
    if match is None:
        raise EhrRefusal(400, "invalid", f"{value} is no date.")
    low, high = _span(match[2])
    if isinstance(element, Mapping):
        start = _span(element["start"])[0] if "start" in element else datetime.min.replace(tzinfo=UTC)
        end = _span(element["end"])[1] if "end" in element else datetime.max.replace(tzinfo=UTC)
    else:
        start, end = _span(str(element))
    match match[1] or "eq":
        case "eq":
            return low <= start and end <= high
        case "ne":
            return start < low or end > high
        case "gt":
            return end > high
        case "lt":
            return start < low
        case "ge":
            return end > high or (low <= start and end <= high)
        case "le":
            return start < low or (low <= start and end <= high)
        case "sa":
            return start >= high
        case _:
            return end <= low


def _span(text: str) -> tuple[datetime, datetime]:
    """From the first instant of a date or time to the first one after it. Without a zone it is UTC."""
    try:
        if len(text) == 4:
            return _utc(f"{text}-01-01"), _utc(f"{int(text) + 1:04}-01-01")
        if len(text) == 7:
            first = _utc(f"{text}-01")
            return first, (first + timedelta(days=32)).replace(day=1)
        if len(text) == 10:
            return _utc(text), _utc(text) + timedelta(days=1)
        at = _utc(text)
    except ValueError:
        raise EhrRefusal(400, "invalid", f"{text} is no date.") from None
    return at, at + (timedelta(milliseconds=1) if "." in text else timedelta(seconds=1))


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
