"""Related queries (R-074, R-225): searches that a subscriber can run to learn more about an event."""

from typing import Any

from broker.model.topic import Coding, RelatedQuery

RELATED_QUERY = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-related-query"


def coding(value: Coding) -> dict[str, str]:
    members = {"system": value.system, "code": value.code, "display": value.display}
    return {name: text for name, text in members.items() if text}


def related_query_extension(query: RelatedQuery) -> dict[str, Any]:
    """R-225: the type of the query if it has one, and the query."""
    parts: list[dict[str, Any]] = []
    if query.type is not None:
        parts.append({"url": "queryType", "valueCoding": coding(query.type)})
    return {"url": RELATED_QUERY, "extension": [*parts, {"url": "query", "valueString": query.query}]}
