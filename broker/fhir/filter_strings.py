"""The backport's filter strings (R-140..R-144): `param=v` or `param:modifier=v`, with `Type.` or `Type?`
before it, or several joined by `&` after `Type?`.

A string that can't be read is refused and never ignored: without its filter a subscription would receive
everything.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from broker.model.search import Comparator, Filter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_MODIFIER = re.compile(r"[A-Za-z0-9._:-]*")
"""Also what follows `_has:` and a type: `Observation:patient:code`, `Patient.name:exact`."""
_TYPE = re.compile(r"[A-Z][A-Za-z]*")
_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)(?=[0-9+.-])")


def parse_filter_string(text: str) -> list[Filter]:
    """The filters of one backport-filter-criteria. Raises `ValueError` with the reason."""
    resource_type, rest = _resource_type(text)
    filters = [_filter(term, resource_type) for term in rest.split("&") if term]
    if not filters:
        raise ValueError(f"{text!r} has no `parameter=value`")
    return filters


def _resource_type(text: str) -> tuple[str | None, str]:
    before, question, after = text.partition("?")
    if question and "=" not in before:
        if not _TYPE.fullmatch(before):
            raise ValueError(f"{before!r} before the `?` is not a resource type")
        return before, after
    name = text.partition("=")[0].partition(":")[0]
    first, dot, _ = name.partition(".")
    # a search parameter never starts with a capital letter, a resource type always does
    if dot and _TYPE.fullmatch(first):
        return first, text[len(first) + 1 :]
    return None, text


def _filter(term: str, resource_type: str | None) -> Filter:
    name, equals, value = term.partition("=")
    if not equals:
        raise ValueError(f"{term!r} has no `=`")
    parameter, colon, modifier = unquote(name).partition(":")
    if not _NAME.fullmatch(parameter):
        raise ValueError(f"{parameter!r} is not a search parameter")
    if _TYPE.fullmatch(parameter.partition(".")[0]):
        raise ValueError(f"{parameter!r} has a resource type, which stands only at the beginning")
    value = unquote(value)
    if not value:
        raise ValueError(f"{term!r} has no value")
    if colon and not modifier:
        raise ValueError(f"{term!r} has no modifier after the `:`")
    if not _MODIFIER.fullmatch(modifier):
        raise ValueError(f"{modifier!r} is not a modifier")
    return Filter(parameter, value, modifier=modifier or None, resource_type=resource_type)


def render_filter_string(filter: Filter) -> str:
    """The filter in the backport's form; a comparator becomes the prefix of the value."""
    prefix = filter.comparator.value if filter.comparator and filter.comparator is not Comparator.EQ else ""
    value = ",".join(prefix + part for part in _values(filter.value)) if prefix else filter.value
    modifier = f":{filter.modifier}" if filter.modifier else ""
    escaped = value.replace("%", "%25").replace("&", "%26")
    return (
        f"{filter.resource_type}?" if filter.resource_type else ""
    ) + f"{filter.parameter}{modifier}={escaped}"


def _values(value: str) -> Iterator[str]:
    yield from re.split(r"(?<!\\),", value)


def has_prefix(value: str) -> bool:
    """Whether any of the comma-separated values has a comparator prefix."""
    return any(_PREFIX.match(part) for part in _values(value))
