"""The search parameters of each release: which exist, of what type, and the expression that selects their values.

`parameters.tsv` restates the published definitions, one row for all releases in which a parameter is the same. It holds
only what an expression can select: `_text`, `_content`, `_has`, `_list`, `_in` and the like need more than the resource
itself, so asking for one finds nothing and a filter that uses it is refused rather than accepted and silent (R-408).
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from broker.model.release import Release
from broker.model.search import Component, ParameterType, SearchParameter

EVERY_RESOURCE = "Resource"
"""The type under which the parameters of every resource are kept (R-409)."""


class _Row(NamedTuple):
    """One line of the table, as text: most rows of most processes are never looked up."""

    type: str
    expression: str
    targets: str
    components: str


_Key = tuple[str, str, str]


class Parameters:
    """Looks up search parameters; the table is read at the first look-up, once a process."""

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        """The parameter, or None if the release has none of that code for the type or nothing to select its values by."""
        return _find(str(release), resource_type, code)

    def codes(self, release: Release, resource_type: str) -> frozenset[str]:
        """All codes that `find` knows for the type, those of every resource included."""
        wanted = {resource_type, EVERY_RESOURCE}
        return frozenset(code for held, kind, code in _table() if held == release and kind in wanted)


@cache
def _find(release: str, resource_type: str, code: str) -> SearchParameter | None:
    row = _table().get((release, resource_type, code)) or _table().get((release, EVERY_RESOURCE, code))
    if row is None:
        return None
    return SearchParameter(
        code=code,
        type=ParameterType(row.type),
        expression=row.expression,
        targets=tuple(row.targets.split()),
        components=tuple(_component(text) for text in row.components.split(" ; ") if text),
    )


def _component(text: str) -> Component:
    code, kind, expression = text.split(":", 2)
    return Component(code, ParameterType(kind), expression)


@cache
def _table() -> dict[_Key, _Row]:
    text = (files("broker.fhir") / "parameters.tsv").read_text(encoding="utf-8")
    table: dict[_Key, _Row] = {}
    for line in text.splitlines()[1:]:
        releases, resource_type, code, kind, expression, targets, components, *_ = (line + "\t\t").split("\t")
        row = _Row(kind, expression, targets, components)
        for release in releases.split(" "):
            table[release, resource_type, code] = row
    return table
