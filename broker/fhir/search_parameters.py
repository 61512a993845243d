"""The search parameters of each release: their types, and the expressions that select their values.

`search_parameters.tsv` restates the published definitions, one row for all releases in which a parameter is
the same. It only has parameters with an expression. `_text`, `_content`, `_has`, `_list`, `_in` and the like
need more than the resource itself, so they are missing, and a filter that uses one is refused at registration
(R-408). Matching and the HTTP API look parameters up.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from broker.model.release import Release
from broker.model.search import Component, ParameterType, SearchParameter

EVERY_RESOURCE = "Resource"
"""The type that the parameters of all resources have in the table (R-409)."""


class _Row(NamedTuple):
    """One line of the table, as text: a process looks few of them up."""

    type: str
    expression: str
    targets: str
    components: str
    codes: str


_Key = tuple[str, str, str]


class SearchParameters:
    """The table of `model.search.ParameterTable`. It is read once a process, at the first lookup."""

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        """The parameter, or None if the release has none of that code for the type, or none with an
        expression.
        """
        table = _table()
        for key in ((str(release), resource_type, code), (str(release), EVERY_RESOURCE, code)):
            if key in table:
                return _parameter(key)
        return None

    def codes(self, release: Release, resource_type: str) -> frozenset[str]:
        """All codes that `find` has for the type, including those of all resources."""
        types = {resource_type, EVERY_RESOURCE}
        return frozenset(
            code for row_release, row_type, code in _table() if row_release == release and row_type in types
        )

    def all(self, release: Release) -> Mapping[str, Sequence[SearchParameter]]:
        """By type, those of all resources under `EVERY_RESOURCE`; each in the order of the table."""
        found: dict[str, list[SearchParameter]] = {}
        for key in _table():
            if key[0] == release:
                found.setdefault(key[1], []).append(_parameter(key))
        return found


@cache
def _parameter(key: _Key) -> SearchParameter:
    """Only for a key of the table: clients name codes without end that are none."""
    _, _, code = key
    row = _table()[key]
    return SearchParameter(
        code=code,
        type=ParameterType(row.type),
        expression=row.expression,
        targets=tuple(row.targets.split()),
        components=tuple(_component(text) for text in row.components.split(" ; ") if text),
        codes=frozenset(row.codes.split()),
    )


def _component(text: str) -> Component:
    code, parameter_type, expression = text.split(":", 2)
    return Component(code, ParameterType(parameter_type), expression)


@cache
def _table() -> Mapping[_Key, _Row]:
    text = (files("broker.fhir") / "search_parameters.tsv").read_text(encoding="utf-8")
    table: dict[_Key, _Row] = {}
    for line in text.splitlines()[1:]:
        releases, resource_type, code, *cells = (line + "\t\t\t").split("\t")
        row = _Row(*cells[:5])
        for release in releases.split(" "):
            table[release, resource_type, code] = row
    return MappingProxyType(table)
