"""The parameters that shape the result of a search or read and select nothing: order, total, pages, and how
much of each resource.

Every search reads them here. A wrong value, a modifier or a contradiction is refused. A parameter without a
value, and a sort key that the type does not have, are left out and reported, or refused for a strict client.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from broker.errors import Issue, Malformed
from broker.fhir.summaries import SummaryView
from broker.model.whole_number import whole_number

Parameters = Sequence[tuple[str, str]]
"""Parameters as sent: name with modifier, and value; names may repeat."""
RESULT_PARAMETERS = frozenset(
    {"_count", "_elements", "_format", "_page", "_pretty", "_sort", "_summary", "_total"}
)
DEFAULT_COUNT = 100
MAX_COUNT = 1_000
_SUMMARIES = ("true", "false", "count", "data", "text")
_TOTALS = ("none", "accurate", "estimate")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A search parameter by whose values the matches are ordered."""

    code: str
    is_descending: bool = False

    def __str__(self) -> str:
        return f"-{self.code}" if self.is_descending else self.code


@dataclass(frozen=True, slots=True)
class ResultParameters:
    """What a client asks of the result. With `count` 0 the response has only the total.

    `page` is the page's name, '' for the first. `honoured` are the parameters as they were applied, without
    the page: links repeat them. `ignored` are warnings about what was left out.
    """

    count: int
    page: str
    sort: tuple[SortKey, ...]
    view: SummaryView
    has_total: bool
    honoured: Parameters
    ignored: tuple[Issue, ...]


class _Reader:
    """The values of result parameters, and warnings about what is left out."""

    def __init__(self, parameters: Parameters, *, is_strict: bool) -> None:
        self.ignored: list[Issue] = []
        self._is_strict = is_strict
        self._values: dict[str, list[str]] = {}
        for name, value in parameters:
            code, colon, modifier = name.partition(":")
            if code not in RESULT_PARAMETERS:
                continue
            if colon:
                text = f"{code} takes no modifier, so not :{modifier}. Leave it out."
                raise Malformed(Issue("not-supported", text, name))
            if value.strip():
                self._values.setdefault(code, []).append(value)
            else:
                self.leave_out("value", f"{code} has no value.", code)

    def leave_out(self, code: str, text: str, expression: str) -> None:
        """Warns about what is ignored; raises `Malformed` for a strict client."""
        if self._is_strict:
            raise Malformed(Issue(code, text, expression))
        self.ignored.append(Issue(code, f"{text} It was ignored.", expression, "warning"))

    def single(self, name: str, allowed: Sequence[str] = ()) -> str:
        """The value, '' without one. Equal repetitions count once."""
        values = list(dict.fromkeys(self._values.get(name, ())))
        if len(values) > 1:
            raise Malformed(Issue("value", f"{name} has several values. Send one.", name))
        if values and allowed and values[0] not in allowed:
            raise Malformed(Issue("value", f"{name} takes {', '.join(allowed)}, not {values[0]!r}.", name))
        return values[0] if values else ""

    def listed(self, name: str) -> list[str]:
        """The values between commas of all repetitions, each once."""
        listed = (part.strip() for value in self._values.get(name, ()) for part in value.split(","))
        return list(dict.fromkeys(part for part in listed if part))


def parse_result_parameters(
    parameters: Parameters,
    *,
    sortable: Collection[str],
    elements: Collection[str],
    is_strict: bool,
) -> ResultParameters:
    """The result parameters among those of a request. `sortable` are the codes that `_sort` may name, and
    `elements` what `_elements` may name.

    Raises `Malformed` with the name of the parameter.
    """
    reader = _Reader(parameters, is_strict=is_strict)
    view, is_count = _view(reader, elements)
    count_text = reader.single("_count")
    count = whole_number(count_text) if count_text else DEFAULT_COUNT
    if count is None:
        raise Malformed(Issue("value", f"_count takes a whole number, not {count_text!r}.", "_count"))
    count = min(count, MAX_COUNT)
    is_count = is_count or count == 0  # FHIR defines _count=0 as _summary=count
    total = reader.single("_total", _TOTALS)
    sort = _sort(reader, sortable)
    applied = {
        "_count": str(count) if count_text else "",
        "_elements": ",".join(reader.listed("_elements")),
        "_format": reader.single("_format"),
        "_pretty": reader.single("_pretty"),
        "_sort": ",".join(str(key) for key in sort),
        "_summary": reader.single("_summary"),
        "_total": total,
    }
    return ResultParameters(
        count=0 if is_count else count,
        page=reader.single("_page"),
        sort=sort,
        view=view,
        has_total=is_count or total != "none",
        honoured=[(name, value) for name, value in applied.items() if value],
        ignored=tuple(reader.ignored),
    )


def parse_view(parameters: Parameters, elements: Collection[str], *, is_strict: bool) -> SummaryView:
    """How much of a resource a read asks for. Raises `Malformed` with the name of the parameter."""
    view, is_count = _view(_Reader(parameters, is_strict=is_strict), elements)
    if is_count:
        text = "_summary=count counts the matches of a search. Send true, text, data or false on a read."
        raise Malformed(Issue("value", text, "_summary"))
    return view


def _view(reader: _Reader, elements: Collection[str]) -> tuple[SummaryView, bool]:
    """How much of each resource, and whether only their number is asked for."""
    summary = reader.single("_summary", _SUMMARIES) or "false"
    names = reader.listed("_elements")
    unknown = [name for name in names if name not in elements]
    if unknown and elements:
        text = f"{unknown[0]!r} is not an element of the resource type. Leave it out of _elements."
        raise Malformed(Issue("value", text, "_elements"))
    if names and summary != "false":
        text = "_summary and _elements exclude each other. Send one of them."
        raise Malformed(Issue("conflict", text, "_elements"))
    shown = cast("Literal['false', 'true', 'text', 'data']", "false" if summary == "count" else summary)
    return SummaryView(shown, frozenset(names)), summary == "count"


def _sort(reader: _Reader, sortable: Collection[str]) -> tuple[SortKey, ...]:
    """The keys that can be sorted by; of a repeated code the first counts."""
    keys: dict[str, SortKey] = {}
    for name in reader.listed("_sort"):
        code = name.removeprefix("-")
        if code not in sortable:
            supported = ", ".join(sorted(sortable))
            text = f"The sort key {name!r} is not supported. Supported are {supported}."
            reader.leave_out("not-supported", text, "_sort")
        else:
            keys.setdefault(code, SortKey(code, is_descending=name.startswith("-")))
    return tuple(keys.values())
