"""A faster evaluation of plain paths: `Observation.code` or `Observation.subject.where(resolve() is
Patient)`.

Most search parameters are such paths. The values are those that `extract` selects. Where a choice element or
a contained resource matters, and for every other expression, `extract` evaluates it.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from broker.matching.extract import compile_extractor
from broker.matching.references import has_unknown_type, referenced_type
from broker.model.release import Release

ValueExtractor = Callable[[Any], list[Any]]
_PLAIN = re.compile(r"([A-Z]\w*)((?:\.[a-z]\w*)+)(?:\.where\(resolve\(\) is ([A-Z]\w*)\))?")
_ANY_RESOURCE = frozenset({"Resource", "DomainResource"})


class _NotPlain(Exception):  # noqa: N818 named for what is the case
    """The path meets a choice element or a contained resource."""


@lru_cache(maxsize=4096)
def compile_values(expression: str, release: Release) -> ValueExtractor:
    """A function that selects the values of an expression in a resource.

    Raises BadExpression; the function raises EvaluationFailed.
    """
    extract = compile_extractor(expression, release)
    plain = _PLAIN.fullmatch(expression.strip())
    if plain is None:
        return lambda root: [node.value for node in extract(root)]
    resource_type, path, target = plain.groups()
    names = tuple(path[1:].split("."))
    is_any = resource_type in _ANY_RESOURCE

    def values(root: Any) -> list[Any]:
        if not is_any and root.get("resourceType") != resource_type:
            return []
        try:
            elements = _walk(root, names)
            return elements if target is None else _references_to(target, elements)
        except _NotPlain:
            return [node.value for node in extract(root)]

    return values


def _walk(root: Any, names: tuple[str, ...]) -> list[Any]:
    focus = [root]
    for name in names:
        children: list[Any] = []
        for element in focus:
            if not isinstance(element, dict):
                continue
            value = element.get(name)
            if isinstance(value, list):
                children += [child for child in value if child is not None]
            elif value is not None:
                children.append(value)
            elif any(key.startswith(name) for key in element):
                raise _NotPlain  # it may be a choice element: `value` also selects `valueQuantity`
        focus = children
    return focus


def _references_to(target: str, references: list[Any]) -> list[Any]:
    """Those that refer to a resource of the target type."""
    selected = []
    for reference in references:
        text = reference.get("reference") if isinstance(reference, dict) else reference
        if isinstance(text, str) and text.startswith("#"):
            raise _NotPlain
        if referenced_type(reference) == target or has_unknown_type(reference):
            selected.append(reference)
    return selected
