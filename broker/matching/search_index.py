"""The index entries of the resources that are written, by type and release. Intake calls it."""

from collections.abc import Mapping, Sequence

from broker.matching.context import SearchContext
from broker.matching.search_terms import (
    IndexDefinition,
    IndexEntries,
    ResourceIndexer,
    can_be_indexed,
    parse_definition,
)
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.resource import Resource

ANY_TYPE = "*"
"""Stands for every type that is not named."""


class SearchIndex:
    """The indexes of each type that is searched; `*` of all others."""

    def __init__(self, definitions: Mapping[str, Sequence[str]], context: SearchContext) -> None:
        """`definitions` are texts such as `subject+code@date`. Raises `BadFilter` for a wrong one, and for a
        parameter that can't be indexed in any release.
        """
        self.context = context
        self._definitions = {name: tuple(map(parse_definition, texts)) for name, texts in definitions.items()}
        for name, parsed in self._definitions.items():
            for code in {code for definition in parsed for code in definition.parameters}:
                if name != ANY_TYPE and not can_be_indexed(name, code, context):
                    raise BadFilter(f"{name} has no parameter {code!r} of the types token, reference or uri")
        self._indexers: dict[tuple[str, Release], ResourceIndexer] = {}

    def definitions(self, resource_type: str) -> Sequence[IndexDefinition] | None:
        """Those of a type; None if it is not searched."""
        return self._definitions.get(resource_type, self._definitions.get(ANY_TYPE))

    def entries(self, release: Release, resource_type: str, resource: Resource) -> IndexEntries | None:
        """The entries of a resource as it was sent; None for a type that is not searched."""
        definitions = self.definitions(resource_type)
        if definitions is None:
            return None
        indexer = self._indexers.get((resource_type, release))
        if indexer is None:
            indexer = ResourceIndexer(resource_type, release, definitions, self.context)
            self._indexers[resource_type, release] = indexer
        return indexer.entries(resource.copy())
