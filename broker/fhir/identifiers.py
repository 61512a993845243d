"""Business identifiers of a resource, in the form of the index that conditional requests search."""

import re
from typing import NamedTuple

from broker.fhir.json_values import objects
from broker.model.resource import Resource

SEPARATOR = "\x1f"
"""Between the parts of an index entry. No identifier in the index has a control character."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class IdentifierToken(NamedTuple):
    """An identifier as a search names it. `system` is '' for none and None for any system."""

    system: str | None
    value: str

    @property
    def index_prefix(self) -> str:
        """What the index entries of the identifiers that match begin with."""
        if self.system is None:
            return f"{self.value}{SEPARATOR}"
        return f"{self.value}{SEPARATOR}{self.system}{SEPARATOR}"

    @property
    def is_indexed(self) -> bool:
        """Whether resources with such an identifier have an entry in the index: not with a control character,
        which would be taken for the end of a part.
        """
        return not _CONTROL.search(f"{self.system or ''}{self.value}")

    def matches(self, identifier: "IdentifierToken") -> bool:
        """Whether an identifier of a resource is one that this token names."""
        return self.value == identifier.value and self.system in {None, identifier.system}


def identifiers(resource: Resource) -> list[IdentifierToken]:
    """The resource's business identifiers, each once.

    An identifier without a value is left out, and one with a control character, which no FHIR search could
    name.
    """
    if "identifier" not in resource.fields:
        return []
    tokens: dict[IdentifierToken, None] = {}
    for identifier in objects(resource.fields["identifier"]):
        system, value = identifier.get("system", ""), identifier.get("value")
        if not isinstance(system, str) or not isinstance(value, str) or not value:
            continue
        token = IdentifierToken(system, value)
        if token.is_indexed:
            tokens[token] = None
    return list(tokens)


def index_entries(resource: Resource) -> list[str]:
    """The index entries of the resource, without its id: value first, so that a search without a system finds
    it too.
    """
    return [token.index_prefix for token in identifiers(resource)]
