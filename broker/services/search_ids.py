"""The searches that name their candidates: by id, and by business identifier."""

import re
from collections.abc import Sequence

from broker.fhir.identifiers import IdentifierToken
from broker.matching.tokens import SearchToken, parse_token
from broker.matching.values import split
from broker.model.change import Tenant
from broker.model.search import Filter
from broker.services.search_plan import MAX_SORTED, IndexedType
from broker.store.resources import Resources

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


async def named_ids(
    resources: Resources, tenant: Tenant, searched: IndexedType, filters: Sequence[Filter]
) -> list[str] | None:
    """The ids of all resources that may match, by a filter that names them; None if no filter does, or if
    too many have the identifier.
    """
    for filter_ in filters:
        if filter_.parameter == "_id" and filter_.modifier is None:
            codes = (token.code or "" for token in _tokens(filter_))
            return sorted({code for code in codes if _ID.fullmatch(code)})
    for filter_ in filters:
        if filter_.parameter == "identifier" and filter_.modifier is None:
            prefixes = _prefixes(searched, filter_)
            if prefixes is None:
                continue
            limit = MAX_SORTED + 1
            found = await resources.find(tenant, searched.resource_type, prefixes, limit=limit)
            if len(found) < limit:
                return sorted(found)
    return None


def _tokens(filter_: Filter) -> list[SearchToken]:
    return [parse_token(text) for text in split(filter_.value, ",")]


def _prefixes(searched: IndexedType, filter_: Filter) -> list[str] | None:
    """Of the entries of the identifier index; None if it does not have what the filter names."""
    parameter = searched.context.parameters.find(searched.release, searched.resource_type, "identifier")
    if parameter is None or parameter.expression != f"{searched.resource_type}.identifier":
        return None
    prefixes = []
    for token in _tokens(filter_):
        identifier = IdentifierToken(token.system, token.code or "")
        if not identifier.value or not identifier.is_indexed:
            return None
        prefixes.append(identifier.index_prefix)
    return prefixes
