"""What a request asks of the stored resources of a type: filters, order, pages, and resources to include.

A parameter is applied, or it is reported (refused for a strict client); a wrong value is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.errors import Issue, Malformed
from broker.fhir.summaries import known_elements
from broker.matching.filters import Test, compile_filter
from broker.matching.values import BadFilter, BadValue
from broker.model.search import Filter, ParameterType, SearchParameter
from broker.services.result_parameters import (
    RESULT_PARAMETERS,
    Parameters,
    ResultParameters,
    parse_result_parameters,
)
from broker.services.search_plan import IndexedType, Order, SecondKey, has_date_order
from broker.services.snapshot_pages import Direction, SnapshotPageName, parse_snapshot_page

INCLUDE, REVERSE_INCLUDE = "_include", "_revinclude"


@dataclass(frozen=True, slots=True)
class Include:
    """An `_include` or `_revinclude`: resources of `source` that refer by `parameter`, to resources of the
    type `target` or, with '', of any.
    """

    source: str
    parameter: SearchParameter
    target: str = ""


@dataclass(frozen=True, slots=True)
class StoredSearch:
    """What a request asks for, checked. `used` are its parameters that were applied besides those of `shape`,
    for the links; `ignored` are warnings about the others.
    """

    filters: Sequence[Filter]
    tests: Sequence[Test]
    shape: ResultParameters
    includes: Sequence[Include] = ()
    reverse_includes: Sequence[Include] = ()
    used: Parameters = ()
    ignored: tuple[Issue, ...] = ()

    @property
    def order(self) -> Order:
        return Order(self.shape.sort[0].code) if self.shape.sort else Order.MOMENT

    @property
    def direction(self) -> Direction:
        return Direction(bool(self.shape.sort) and self.shape.sort[0].is_descending)

    @property
    def second(self) -> SecondKey | None:
        """The second key; None without one. There are no more keys than orders, and each comes once."""
        if len(self.shape.sort) < 2:
            return None
        first, second = self.shape.sort
        is_opposite = first.is_descending != second.is_descending
        return SecondKey(Order(second.code), second.is_descending, is_opposite)

    @property
    def page(self) -> SnapshotPageName | None:
        """The page that a link names; None for the first. Raises `Malformed`."""
        if not self.shape.page:
            return None
        page = parse_snapshot_page(self.shape.page)
        if page is None:
            text = "The value of _page is invalid. Follow a link of an earlier response."
            raise Malformed(Issue("value", text, "_page"))
        return page

    @property
    def wants_total(self) -> bool:
        """An exact one."""
        return self.shape.count == 0 or ("_total", "accurate") in self.shape.honoured

    @property
    def wants_estimate(self) -> bool:
        return ("_total", "estimate") in self.shape.honoured


def parse_stored_search(parameters: Parameters, searched: IndexedType, *, is_strict: bool) -> StoredSearch:
    """Raises `Malformed` naming the parameter."""
    reader = _Reader(searched, is_strict=is_strict)
    for name, value in parameters:
        code = name.partition(":")[0]
        if code not in RESULT_PARAMETERS:
            reader.read(name, value)
    shape = parse_result_parameters(
        parameters,
        sortable={str(order) for order in Order if order is Order.MOMENT or has_date_order(searched)},
        elements=known_elements(searched.release, searched.resource_type),
        is_strict=is_strict,
    )
    return StoredSearch(
        reader.filters,
        reader.tests,
        shape,
        reader.includes[INCLUDE],
        reader.includes[REVERSE_INCLUDE],
        reader.used,
        (*reader.ignored, *shape.ignored),
    )


class _Reader:
    """Reads the parameters that select or include."""

    def __init__(self, searched: IndexedType, *, is_strict: bool) -> None:
        self.filters: list[Filter] = []
        self.tests: list[Test] = []
        self.includes: dict[str, list[Include]] = {INCLUDE: [], REVERSE_INCLUDE: []}
        self.used: list[tuple[str, str]] = []
        self.ignored: list[Issue] = []
        self._searched = searched
        self._is_strict = is_strict

    def read(self, name: str, value: str) -> None:
        code, _, modifier = name.partition(":")
        if not value.strip():
            self._leave_out(Issue("value", f"{name} has no value.", code))
        elif code in self.includes:
            self._read_include(name, code, modifier, value)
        else:
            self._read_filter(name, code, modifier, value)

    def _read_filter(self, name: str, code: str, modifier: str, value: str) -> None:
        searched = self._searched
        parameter = searched.context.parameters.find(searched.release, searched.resource_type, code)
        if parameter is None:
            text = f"{searched.resource_type} has no search parameter {code!r} that the broker evaluates."
            self._leave_out(Issue("not-supported", text, code))
            return
        filter_ = Filter(code, value, modifier=modifier or None)
        try:
            test = compile_filter(filter_, parameter, searched.release, searched.context)
        except BadValue as error:
            raise Malformed(Issue("value", f"{name}: {error}", name)) from None
        except BadFilter as error:
            raise Malformed(Issue("not-supported", f"{name}: {error}", name)) from None
        self.filters.append(filter_)
        self.tests.append(test)
        self.used.append((name, value))

    def _read_include(self, name: str, code: str, modifier: str, value: str) -> None:
        """`Type:parameter` or `Type:parameter:TargetType`."""
        searched, parts = self._searched, value.split(":")
        if modifier:
            text = f"{code} does not support the modifier :{modifier}."
            self._leave_out(Issue("not-supported", text, name))
            return
        if len(parts) not in {2, 3}:
            text = f"{code} takes Type:parameter or Type:parameter:TargetType, not {value!r}."
            self._leave_out(Issue("not-supported", text, name))
            return
        source, parameter_code, *target = parts
        parameter = searched.context.parameters.find(searched.release, source, parameter_code)
        is_reference = parameter is not None and parameter.type is ParameterType.REFERENCE
        if parameter is None or not is_reference or (code == INCLUDE and source != searched.resource_type):
            text = f"{code}={value} names no reference of {source} that can be followed."
            self._leave_out(Issue("not-supported", text, name))
            return
        self.includes[code].append(Include(source, parameter, *target))
        self.used.append((name, value))

    def _leave_out(self, issue: Issue) -> None:
        """Warns about what is ignored; raises `Malformed` for a strict client."""
        if self._is_strict:
            raise Malformed(issue)
        self.ignored.append(replace(issue, text=f"{issue.text} It was ignored.", severity="warning"))
