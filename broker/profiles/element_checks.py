"""Checks of single values, one closure for each rule of an element."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from broker.profiles.base_checks import Check
from broker.profiles.definitions import Constraint
from broker.profiles.found import Found
from broker.profiles.values import is_equal, matcher


class Origin(NamedTuple):
    """Where a rule comes from: the name of the profile, and the id of the element in it."""

    profile: str
    element: str

    def text(self, text: str) -> str:
        return f"{text} (profile {self.profile})"


def all_of(checks: Sequence[Check]) -> Check | None:
    """One check that makes all; None for none."""
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    several = tuple(checks)

    def check(value: Any, path: str, found: Found) -> None:
        for each in several:
            each(value, path, found)

    return check


def fixed_check(fixed: Any, origin: Origin) -> Check:
    text, element = origin.text(f"the value must be {_shown(fixed)}"), origin.element
    if isinstance(fixed, str):

        def check_text(value: Any, path: str, found: Found) -> None:
            if value != fixed:
                found.add("value", path, text, element=element)

        return check_text

    def check(value: Any, path: str, found: Found) -> None:
        if not is_equal(value, fixed):
            found.add("value", path, text, element=element)

    return check


def pattern_check(pattern: Any, origin: Origin) -> Check:
    text, element = origin.text(f"the value must have {_shown(pattern)}"), origin.element
    is_met = matcher(pattern)

    def check(value: Any, path: str, found: Found) -> None:
        if not is_met(value):
            found.add("value", path, text, element=element)

    return check


def _shown(value: Any) -> str:
    """A fixed value or pattern in few words: `system=…, code=…`."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
    if isinstance(value, list):
        return f"[{'; '.join(_shown(each) for each in value)}]"
    return repr(value) if isinstance(value, str) else str(value).lower()


def length_check(maximum: int, origin: Origin) -> Check:
    text = origin.text(f"the text is longer than {maximum} characters")

    def check(value: Any, path: str, found: Found) -> None:
        if isinstance(value, str) and len(value) > maximum:
            found.add("value", path, text, element=origin.element)

    return check


def limit_check(limit: Any, origin: Origin, *, is_minimum: bool) -> Check:
    """A minValue or maxValue: of a number, of a date or time of the same precision, of a Quantity's value."""
    text = origin.text(f"the value is {'below' if is_minimum else 'above'} {_shown(limit)}")

    def check(value: Any, path: str, found: Found) -> None:
        one, other = _comparable(value, limit)
        if one is not None and ((one < other) if is_minimum else (one > other)):
            found.add("value", path, text, element=origin.element)

    return check


def _comparable(value: Any, limit: Any) -> tuple[Any, Any]:
    if isinstance(value, dict) and isinstance(limit, dict):
        if any(value.get(name) != limit.get(name) for name in ("system", "code")):
            return None, None
        value, limit = value.get("value"), limit.get("value")
    numbers = isinstance(value, int | Decimal) and isinstance(limit, int | Decimal)
    texts = isinstance(value, str) and isinstance(limit, str) and len(value) == len(limit)
    return (value, limit) if numbers or texts else (None, None)


def function_check(
    function: Callable[[Any, Found], bool], constraint: Constraint, words: str, origin: Origin
) -> Check:
    """An invariant by a function of it."""
    text = origin.text(f"{words} ({constraint.key})")
    severity, element = constraint.severity, origin.element

    def check(value: Any, path: str, found: Found) -> None:
        if value is not None and not function(value, found):
            found.add("invariant", path, text, severity, element)

    return check


def forbidden_check(words: str, origin: Origin) -> Check:
    """Of a value that may not be there."""
    text = origin.text(words)

    def check(_value: Any, path: str, found: Found) -> None:
        found.add("structure", path, text, element=origin.element)

    return check
