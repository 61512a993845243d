"""The backport's filter strings (R-140..R-144): `param=v`, `param:modifier=v`, each with `Type.` or `Type?` before it, or several
joined by `&` after `Type?`. A string that can't be read is refused, never passed over: a filter that is ignored sends everything.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from broker.model.search import Comparator, Filter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_TYPE = re.compile(r"[A-Z][A-Za-z]*")
_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)(?=[0-9+.-])")


def parse_filter_string(text: str) -> list[Filter]:
    """The filters of one backport-filter-criteria. Raises `ValueError` with the reason."""
    kind, rest = _type_of(text)
    filters = [_term(term, kind) for term in rest.split("&") if term]
    if not filters:
        raise ValueError(f"{text!r} holds no `parameter=value`")
    return filters


def _type_of(text: str) -> tuple[str | None, str]:
    before, question, after = text.partition("?")
    if question and "=" not in before:
        if not _TYPE.fullmatch(before):
            raise ValueError(f"{before!r} before the `?` is no resource type")
        return before, after
    name = text.partition("=")[0].partition(":")[0]
    first, dot, _ = name.partition(".")
    # a search parameter never begins with a capital, a resource type always does
    if dot and _TYPE.fullmatch(first):
        return first, text[len(first) + 1 :]
    return None, text


def _term(term: str, kind: str | None) -> Filter:
    name, equals, value = term.partition("=")
    if not equals:
        raise ValueError(f"{term!r} has no `=`")
    parameter, colon, modifier = unquote(name).partition(":")
    if not _NAME.fullmatch(parameter):
        raise ValueError(f"{parameter!r} is no search parameter")
    value = unquote(value)
    if not value:
        raise ValueError(f"{term!r} has no value")
    if colon and not modifier:
        raise ValueError(f"{term!r} has no modifier after the `:`")
    return Filter(parameter, value, modifier=modifier or None, resource_type=kind)


def render_filter_string(one: Filter) -> str:
    """The filter as the backport writes it; comparators go into the value."""
    prefix = one.comparator.value if one.comparator and one.comparator is not Comparator.EQ else ""
    value = ",".join(prefix + part for part in _parts(one.value)) if prefix else one.value
    modifier = f":{one.modifier}" if one.modifier else ""
    escaped = value.replace("%", "%25").replace("&", "%26")
    return (f"{one.resource_type}?" if one.resource_type else "") + f"{one.parameter}{modifier}={escaped}"


def _parts(value: str) -> Iterator[str]:
    yield from re.split(r"(?<!\\),", value)


def has_prefix(value: str) -> bool:
    """Whether any of the comma-separated values carries a comparator prefix."""
    return any(_PREFIX.match(part) for part in _parts(value))
