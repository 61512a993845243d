"""Names the place of an item in a payload, such as `readings[2]`, for problems."""

from collections.abc import Sequence
from typing import Any

from broker.mapping.functions import Scope

_MAX_VISITS = 50_000


def place_of(scope: Scope, steps: Sequence[str]) -> str:
    """Where the selected item is in the payload; where that cannot be found, the expression and the position.
    '' for the payload itself.
    """
    if len(scope.items) == 1 or scope.item is scope.items[0]:
        return ""
    if isinstance(scope.item, dict | list) and (found := _find(scope.items[0], scope.item)) is not None:
        return found
    return f"{steps[-1].removesuffix('[]').removesuffix('[*]')}[{scope.position}]"


def _find(payload: Any, item: Any) -> str | None:
    waiting: list[tuple[str, Any]] = [("", payload)]
    visits = 0
    while waiting and visits < _MAX_VISITS:
        place, value = waiting.pop()
        visits += 1
        if value is item:
            return place
        if isinstance(value, dict):
            waiting += (
                (_joined(place, str(key)), each)
                for key, each in value.items()
                if isinstance(each, dict | list)
            )
        elif isinstance(value, list):
            waiting += (
                (f"{place}[{n}]", each) for n, each in enumerate(value) if isinstance(each, dict | list)
            )
    return None


def _joined(place: str, key: str) -> str:
    """A key that is no name may be anything that a device sent, so it is not shown."""
    shown = key if key.isidentifier() and len(key) <= 40 else "*"
    return f"{place}.{shown}" if place else shown
