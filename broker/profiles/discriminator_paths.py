"""The paths of discriminators: `code.coding.code`, `$this`, `extension('url').value`, `subject.resolve()`."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broker.profiles.found import Found
from broker.profiles.values import child_values, children

Walk = Callable[[Any, Found], Sequence[Any]]
"""The values at a path below an item."""
RESOLVE = "resolve()"
EXTENSION = re.compile(r"extension\('([^']*)'\)")
OF_TYPE = re.compile(r"ofType\((?:FHIR\.)?(\w+)\)")
_STEP = re.compile(r"(?:extension\('[^']*'\)|ofType\([^)]*\)|resolve\(\)|[^.])+")


def steps_of(path: str) -> Sequence[str]:
    return [step for step in _STEP.findall(path) if step != "$this"]


def compile_path(steps: Sequence[str]) -> Walk:
    """`ofType` says nothing here: the element of a choice has its type in its name."""
    walks = [_compile_step(step) for step in steps if not OF_TYPE.fullmatch(step)]
    if not walks:
        return lambda value, _found: (value,)
    if len(walks) == 1:
        return walks[0]

    def walk(value: Any, found: Found) -> Sequence[Any]:
        current: Sequence[Any] = (value,)
        for each in walks:
            if len(current) == 1:
                current = each(current[0], found)
            else:
                current = [child for owner in current for child in each(owner, found)]
        return current

    return walk


def _compile_step(step: str) -> Walk:
    if step == RESOLVE:
        return _resolved
    extension = EXTENSION.fullmatch(step)
    if extension is None:
        return lambda value, _found: child_values(value, step)
    url = extension[1]
    return lambda value, _found: [
        each for each in children(value, "extension") if isinstance(each, Mapping) and each.get("url") == url
    ]


def _resolved(reference: Any, found: Found) -> Sequence[Any]:
    """Only a resource that is contained or in the same Bundle is at hand."""
    target = found.target(reference)
    return () if target is None else (target,)
