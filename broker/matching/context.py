"""What filters, queries and search-parameter expressions are compiled with.

The composition root builds one `SearchContext` per process; everything in this package that compiles
something takes it.
"""

from dataclasses import dataclass

from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.search import ParameterTable


@dataclass(frozen=True, slots=True, eq=False)
class SearchContext:
    """Compared by identity, so that it can be part of a cache key.

    `base_urls` are the FHIR base URLs of this broker: an absolute reference below one of them is a local
    reference (R-405). `value_sets` may answer differently after a reload, and compiled filters see that.
    """

    parameters: ParameterTable
    base_urls: frozenset[str] = frozenset()
    value_sets: ValueSets = NO_VALUE_SETS
