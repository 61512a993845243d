"""Searches over what the broker holds itself, Subscriptions and topics: a field table per type, evaluated on the neutral model.

An unknown parameter is refused: a search that passes over it would answer with what was not asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.datastructures import QueryParams

from broker.errors import Issue, Malformed
from broker.model.search import ParameterType

T = TypeVar("T")
DEFAULT_COUNT = 100
MAX_COUNT = 1_000
_CONTROL = {"_format", "_pretty", "_count", "_offset", "_summary", "_total"}


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One search parameter: its type, and the values an item has for it; a token's may be `system|code`."""

    type: ParameterType
    values: Callable[[T], Iterable[str | None]]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items of one page, how many there are in all, and the offset of the next page if there is one."""

    items: Sequence[T]
    total: int
    next_offset: int | None


def _whole(query: QueryParams, name: str, default: int) -> int:
    given = query.get(name)
    if given is None:
        return default
    if not given.isdigit():
        raise Malformed(Issue("value", f"{name} takes a whole number, not {given!r}", name))
    return int(given)


def _token(wanted: str, held: str) -> bool:
    system, bar, code = held.rpartition("|")
    if "|" not in wanted:
        return code == wanted
    wanted_system, _, wanted_code = wanted.rpartition("|")
    return (not bar or system == wanted_system) and wanted_code in {"", code}


def _date(wanted: str, held: str) -> bool:
    prefix, rest = (wanted[:2], wanted[2:]) if wanted[:1].isalpha() else ("eq", wanted)
    # ISO 8601 of the same precision sorts as text does
    part = held[: len(rest)]
    match prefix:
        case "eq":
            return part == rest
        case "ne":
            return part != rest
        case "gt" | "sa":
            return part > rest
        case "lt" | "eb":
            return part < rest
        case "ge":
            return part >= rest
        case "le":
            return part <= rest
        case _:
            raise Malformed(Issue("value", f"the prefix {prefix!r} is not supported here"))


def _meets(kind: ParameterType, modifier: str, wanted: str, held: str) -> bool:
    match kind, modifier:
        case ParameterType.TOKEN, "":
            return _token(wanted, held)
        case ParameterType.DATE, "":
            return _date(wanted, held)
        case ParameterType.STRING, "":
            return held.casefold().startswith(wanted.casefold())
        case ParameterType.STRING, "contains":
            return wanted.casefold() in held.casefold()
        case ParameterType.URI, "below":
            return held == wanted or held.startswith(wanted.rstrip("/") + "/")
        case ParameterType.REFERENCE, "":
            return held == wanted or held.endswith("/" + wanted)
        case ((ParameterType.STRING | ParameterType.URI), ("" | "exact")):
            return held == wanted
        case _:
            raise Malformed(Issue("not-supported", f"the modifier :{modifier} is not supported here"))


def _passes(query: QueryParams, fields: Mapping[str, Field[T]], candidate: T) -> bool:
    for name, given in query.multi_items():
        code, _, modifier = name.partition(":")
        if code in _CONTROL:
            continue
        field = fields[code]
        held = [value for value in field.values(candidate) if value is not None]
        wanted = given.split(",")
        if modifier == "missing":
            if bool(held) is (given == "true"):
                return False
        elif modifier == "not" and field.type is ParameterType.TOKEN:
            if any(_token(one, value) for one in wanted for value in held):
                return False
        elif not any(_meets(field.type, modifier, one, value) for one in wanted for value in held):
            return False
    return True


def search(query: QueryParams, fields: Mapping[str, Field[T]], candidates: Iterable[T]) -> Page[T]:
    """One page of the candidates that meet every parameter. Raises `Malformed` naming an unknown one."""
    for name in query:
        code = name.partition(":")[0]
        if code not in fields and code not in _CONTROL:
            known = ", ".join(sorted(fields))
            raise Malformed(
                Issue("not-supported", f"unknown search parameter {code!r}; known are {known}", code)
            )
    count = min(_whole(query, "_count", DEFAULT_COUNT), MAX_COUNT)
    offset = _whole(query, "_offset", 0)
    found = [candidate for candidate in candidates if _passes(query, fields, candidate)]
    end = offset + count
    return Page(found[offset:end], len(found), end if count and end < len(found) else None)
