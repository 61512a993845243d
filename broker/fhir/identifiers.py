"""Business identifiers of a resource, as tokens of the identifier index. Conditional creates search it."""

import re

from broker.fhir.json_values import objects
from broker.model.resource import Resource

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def identifiers(resource: Resource) -> list[str]:
    """The resource's business identifiers as `system|value`, `|value` without a system, each once.

    The store keeps one per line, so an identifier with a control character is left out; no FHIR search could
    name it either. An identifier without a value is left out too.
    """
    if "identifier" not in resource.fields:
        return []
    tokens: dict[str, None] = {}
    for identifier in objects(resource.fields["identifier"]):
        system, value = identifier.get("system", ""), identifier.get("value")
        if not isinstance(system, str) or not isinstance(value, str) or not value:
            continue
        if not _CONTROL.search(system + value):
            tokens[f"{system}|{value}"] = None
    return list(tokens)
