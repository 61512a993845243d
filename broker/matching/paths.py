"""The values of plain paths, `Observation.code` and `Observation.subject.where(resolve() is Patient)`, without intermediate nodes.

Most search parameters are such paths. It finds what `extract` finds, and asks it wherever a choice element or a contained resource
comes into play.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from broker.matching.extract import compile_extractor
from broker.matching.fhirpath import referenced_type
from broker.model.release import Release

Values = Callable[[Any], list[Any]]
_PLAIN = re.compile(r"([A-Z]\w*)((?:\.[a-z]\w*)+)(?:\.where\(resolve\(\) is ([A-Z]\w*)\))?")
_ANY_RESOURCE = frozenset({"Resource", "DomainResource"})


class _AskTheOther(Exception):  # noqa: N818 named for what is to be done
    """The resource has something at the path that a plain walk doesn't understand."""


@lru_cache(maxsize=4096)
def compile_values(expression: str, release: Release) -> Values:
    """Finds an expression's values in a resource. Raises BadExpression; the result EvaluationFailed."""
    extract = compile_extractor(expression, release)
    found = _PLAIN.fullmatch(expression.strip())
    if found is None:
        return lambda root: [node.value for node in extract(root)]
    resource_type, path, target = found.groups()
    names = tuple(path[1:].split("."))
    is_any = resource_type in _ANY_RESOURCE

    def values(root: Any) -> list[Any]:
        if not is_any and root.get("resourceType") != resource_type:
            return []
        try:
            walked = _walk(root, names)
            return walked if target is None else _pointing_at(target, walked)
        except _AskTheOther:
            return [node.value for node in extract(root)]

    return values


def _walk(root: Any, names: tuple[str, ...]) -> list[Any]:
    focus = [root]
    for name in names:
        found: list[Any] = []
        for element in focus:
            if not isinstance(element, dict):
                continue
            value = element.get(name)
            if isinstance(value, list):
                found += [one for one in value if one is not None]
            elif value is not None:
                found.append(value)
            elif any(key.startswith(name) for key in element):
                raise _AskTheOther  # perhaps a choice: `value` may stand for `valueQuantity`
        focus = found
    return focus


def _pointing_at(target: str, references: list[Any]) -> list[Any]:
    found = []
    for one in references:
        text = one.get("reference") if isinstance(one, dict) else one
        if isinstance(text, str) and text.startswith("#"):
            raise _AskTheOther
        if referenced_type(one) == target:
            found.append(one)
    return found
