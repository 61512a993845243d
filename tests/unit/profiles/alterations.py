"""Systematic single changes of an example, wherever they lead: each element is left out, each text replaced,
each item of a list repeated or put first.

Which of them are faults, no rule of ours says: HL7's validator does (`hl7_verdicts.tsv`).
"""

import copy
from collections.abc import Iterator
from typing import Any

from tests.unit.profiles.examples import Json

_UNTOUCHED = frozenset({"resourceType", "meta"})
Path = tuple[str | int, ...]


def alterations(name: str, fields: Json) -> Iterator[tuple[str, Json]]:
    for path, value in _paths(fields, ()):
        label = f"{name}-{'.'.join(map(str, path))}"
        yield f"{label}-removed", _removed(fields, path)
        if isinstance(value, str):
            yield f"{label}-other", _put(fields, path, "other")
        if isinstance(path[-1], int):
            yield f"{label}-repeated", _repeated(fields, path)
            if path[-1] > 0:
                yield f"{label}-first", _first(fields, path)


def _paths(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    if isinstance(value, dict):
        for name, child in value.items():
            if path or name not in _UNTOUCHED:
                yield from _paths(child, (*path, name))
    elif isinstance(value, list):
        for n, child in enumerate(value):
            yield from _paths(child, (*path, n))


def _owner(fields: Json, path: Path) -> tuple[Json, Any]:
    copied: Any = copy.deepcopy(fields)
    owner = copied
    for step in path[:-1]:
        owner = owner[step]
    return copied, owner


def _removed(fields: Json, path: Path) -> Json:
    """Without the element, and without what has nothing else."""
    copied, owner = _owner(fields, path)
    del owner[path[-1]]
    return copied if owner or len(path) == 1 else _removed(fields, path[:-1])


def _put(fields: Json, path: Path, value: Any) -> Json:
    copied, owner = _owner(fields, path)
    owner[path[-1]] = value
    return copied


def _repeated(fields: Json, path: Path) -> Json:
    copied, owner = _owner(fields, path)
    owner.append(copy.deepcopy(owner[path[-1]]))
    return copied


def _first(fields: Json, path: Path) -> Json:
    copied, owner = _owner(fields, path)
    owner.insert(0, owner.pop(path[-1]))
    return copied
