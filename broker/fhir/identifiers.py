"""Business identifiers of a resource, in the form of the identifier index that conditional creates look in."""

import re

from broker.fhir.json_values import objects
from broker.model.resource import Resource

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def identifiers(resource: Resource) -> list[str]:
    """The resource's business identifiers as `system|value`, `|value` without a system, each once.

    The store keeps one per line. So an identifier with a control character is left out, which no FHIR search could name either;
    an identifier without a value is left out too.
    """
    tokens: dict[str, None] = {}
    for identifier in objects(resource.fields.get("identifier")):
        system, value = identifier.get("system", ""), identifier.get("value")
        if not isinstance(system, str) or not isinstance(value, str) or not value:
            continue
        if not _CONTROL.search(system + value):
            tokens[f"{system}|{value}"] = None
    return list(tokens)
