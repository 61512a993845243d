"""Search parameters and filters, as values.

`fhir/search_parameters.py` lists the search parameters of each release. `matching/` evaluates them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from broker.model.release import Release


class ParameterType(StrEnum):
    """Search parameter types of FHIR."""

    NUMBER = "number"
    DATE = "date"
    STRING = "string"
    TOKEN = "token"  # noqa: S105 a FHIR code, not a secret
    REFERENCE = "reference"
    COMPOSITE = "composite"
    QUANTITY = "quantity"
    URI = "uri"
    SPECIAL = "special"


class Comparator(StrEnum):
    """Prefixes of ordered search values (value set search-comparator)."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class Modifier(StrEnum):
    """Search modifiers (value set search-modifier-code).

    `:Patient` and the like are `TYPE` with a type name.
    """

    MISSING = "missing"
    EXACT = "exact"
    CONTAINS = "contains"
    NOT = "not"
    TEXT = "text"
    IN = "in"
    NOT_IN = "not-in"
    BELOW = "below"
    ABOVE = "above"
    TYPE = "type"
    IDENTIFIER = "identifier"
    OF_TYPE = "of-type"
    CODE_TEXT = "code-text"
    TEXT_ADVANCED = "text-advanced"
    ITERATE = "iterate"


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a composite parameter. `expression` is relative to each element that the composite
    selects.
    """

    code: str
    type: ParameterType
    expression: str


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter of one resource type in one release.

    `codes` are those of the required value set of a code; empty if any code is allowed, or not listed.
    """

    code: str
    type: ParameterType
    expression: str
    targets: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    codes: frozenset[str] = frozenset()


class ParameterTable(Protocol):
    """Looks up search parameters. `fhir.search_parameters.SearchParameters` implements it."""

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        """The parameter `code` of `resource_type` in `release`; None if there is none.

        This includes the parameters of every resource type (`_id`, `_lastUpdated`).
        """
        ...


class Filter(msgspec.Struct, frozen=True, gc=False):
    r"""One filter of a Subscription (R-103), or one `parameter:modifier=value` term of a query.

    `modifier` is the text after the colon as written (`not`, `identifier`, `Patient`). `value` is a search
    value: commas mean OR, `\,` `\|` `\$` `\\` are escapes, and values of ordered types may start with a
    prefix (`ge5`) unless `comparator` is given. `resource_type` limits the filter to events whose focus has
    that type (R-144).
    """

    parameter: str
    value: str
    comparator: Comparator | None = None
    modifier: str | None = None
    resource_type: str | None = None
