"""The FHIRPath functions that the broker supplies, refuses or bounds, so that no criteria can stop a matcher.

The engine evaluates in the matcher's process, where no time limit can end it. Three of its functions are
replaced (`matches` and `replaceMatches` run on RE2, in linear time; `round` rounds 0.5 up), one is added
(`hasValue`), comparisons also take two Quantity elements, and some functions are refused when an expression
is compiled. Every function of the engine counts its work: an evaluation that needs too much of it ends with
an error. The count depends on the expression and the resource alone, so a change that is matched again gives
the same result. `fhirpath.py` is the only caller.
"""

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, wraps
from typing import Any

import re2
from fhirpathpy.engine.evaluators import evaluators
from fhirpathpy.engine.invocations import invocation_registry
from fhirpathpy.engine.util import get_data as engine_get_data

MAX_WORK = 200_000
"""Elements, numbers and texts (one for each 100 characters) that one evaluation may produce or compare."""
_MAX_TEXT_CHARS = 100_000
_MAX_INTEGER_BITS = 4096
_WORK = "broker work"

REFUSED = {
    "repeat": "it may never end",
    "toQuantity": "it loses the comparator; compare .value, and the code of the unit",
    "convertsToQuantity": "quantities are not evaluated; compare .value, and the code of the unit",
    "trace": "it would print what it sees",
}
"""Functions of the engine that an expression must not use, and why."""

Function = Callable[..., Any]
_get_data: Any = engine_get_data  # the engine's functions have no type annotations


class TooMuchWork(Exception):  # noqa: N818 named for what is the case
    """An evaluation was ended. It counts as not evaluable."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """A regular expression in RE2's syntax, which has no look-around and no back-references. Raises
    ValueError.
    """
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the regular expression {pattern[:40]!r} is not supported: {text}") from None


def _matches(inputs: list[Any], pattern: Any) -> Any:
    if not inputs or not isinstance(pattern, str) or not pattern:
        return []
    return compile_pattern(pattern).search(_text(inputs)) is not None


def _replace_matches(inputs: list[Any], pattern: Any, replacement: Any) -> Any:
    """`$1` and `${1}` in the replacement are the groups of the pattern."""
    if not inputs or not isinstance(pattern, str) or not isinstance(replacement, str):
        return []
    text = _text(inputs)
    _check_replacement(text, replacement)
    groups = compile_pattern(r"\$(?:(\d)|\{(\d)\})")
    template = groups.sub(lambda found: "\\" + (found[1] or found[2]), replacement.replace("\\", "\\\\"))
    return compile_pattern(pattern).sub(template, text)


def _has_value(inputs: list[Any]) -> bool:
    """Whether the input is one primitive value. One that only has extensions is an object or missing."""
    return len(inputs) == 1 and inputs[0] is not None and not isinstance(inputs[0], dict | list)


def _round(inputs: list[Any], precision: Any = 0) -> Any:
    if not inputs:
        return []
    number = inputs[0]
    if len(inputs) > 1 or isinstance(number, bool) or not isinstance(number, int | Decimal):
        raise TypeError("round() takes one number")
    if not isinstance(precision, int) or not 0 <= precision <= 30:
        raise TypeError("the precision of round() is a number from 0 to 30")
    return Decimal(number).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_UP)


SUPPLIED: Mapping[str, Mapping[str, Any]] = {
    "matches": {"fn": _matches, "arity": {1: ["String"]}},
    "replaceMatches": {"fn": _replace_matches, "arity": {2: ["String", "String"]}},
    "hasValue": {"fn": _has_value, "arity": {0: []}},
    "round": {"fn": _round, "arity": {0: [], 1: ["Integer"]}},
}
"""Entries of the engine's table of user functions, which win over its own."""


def known_functions() -> frozenset[str]:
    """The names that an expression may call."""
    return frozenset(invocation_registry) - set(REFUSED) | set(SUPPLIED)


def _text(inputs: list[Any]) -> str:
    if len(inputs) != 1 or not isinstance(inputs[0], str):
        raise TypeError("a function on texts takes one text")
    return inputs[0]


def _check_replacement(text: str, replacement: str) -> None:
    if (len(text) + 1) * (len(replacement) + 1) > 10 * _MAX_TEXT_CHARS:
        raise TooMuchWork("a replaced text would be too long")


def _spend(context: dict[str, Any], work: int) -> None:
    spent = context.get(_WORK, 0) + work
    if spent > MAX_WORK:
        raise TooMuchWork("it takes too much work")
    context[_WORK] = spent


def _work_of(result: Any) -> int:
    if isinstance(result, list):
        return 1 + len(result)
    if isinstance(result, str):
        if len(result) > _MAX_TEXT_CHARS:
            raise TooMuchWork("a text becomes too long")
        return 1 + len(result) // 100
    if isinstance(result, int) and result.bit_length() > _MAX_INTEGER_BITS:
        raise TooMuchWork("a number becomes too large")
    return 1


def _bounded(function: Function) -> Function:
    @wraps(function)
    def bounded(context: dict[str, Any], *arguments: Any) -> Any:
        result = function(context, *arguments)
        _spend(context, _work_of(result))
        return result

    return bounded


def _bounded_pairs(function: Function) -> Function:
    """For a function that compares every element of its input with every other, or with its argument."""

    @wraps(function)
    def bounded(context: dict[str, Any], *arguments: Any) -> Any:
        sizes = [len(argument) if isinstance(argument, list) else 1 for argument in arguments[:2]]
        _spend(context, sizes[0] * sizes[-1])
        result = function(context, *arguments)
        _spend(context, _work_of(result))
        return result

    return bounded


def _bounded_replace(function: Function) -> Function:
    @wraps(function)
    def bounded(context: dict[str, Any], texts: Any, pattern: Any, replacement: Any) -> Any:
        longest = max((len(str(text)) for text in texts), default=0) if isinstance(texts, list) else 0
        _check_replacement("x" * min(longest, _MAX_TEXT_CHARS), str(replacement))
        result = function(context, texts, pattern, replacement)
        _spend(context, _work_of(result))
        return result

    return bounded


def _bounded_join(function: Function) -> Function:
    @wraps(function)
    def bounded(context: dict[str, Any], texts: Any, *separator: str) -> Any:
        if isinstance(texts, list):
            total = sum(len(text) if isinstance(text, str) else 100 for text in texts)
            if total + len(texts) * len("".join(separator)) > _MAX_TEXT_CHARS:
                raise TooMuchWork("a text becomes too long")
        result = function(context, texts, *separator)
        _spend(context, _work_of(result))
        return result

    return bounded


def _with_quantities(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[Function], Function]:
    """A comparison that also compares two Quantity elements with the same unit, which the engine can't."""

    def extended(function: Function) -> Function:
        bounded = _bounded(function)

        @wraps(function)
        def compared(context: dict[str, Any], left: Any, right: Any) -> Any:
            quantities = _quantity(left), _quantity(right)
            if None in quantities:
                return bounded(context, left, right)
            (left_value, left_unit), (right_value, right_unit) = quantities  # type: ignore[misc]  # not None
            if left_unit != right_unit:
                raise TypeError("the quantities have different units")
            return compare(left_value, right_value)

        return compared

    return extended


def _quantity(operand: Any) -> tuple[Decimal, Any] | None:
    """Value and unit of a single Quantity element with an exact value."""
    data = _get_data(operand[0]) if isinstance(operand, list) and len(operand) == 1 else None
    if not isinstance(data, dict) or "comparator" in data:
        return None
    value = data.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    unit = (data.get("system"), data["code"]) if "code" in data else data.get("unit")
    return Decimal(str(value)), unit


_PAIRWISE = frozenset(
    {"intersect", "exclude", "subsetOf", "supersetOf", "isDistinct", "distinct", "union", "|", "~", "!~"}
)
_GUARDS: Mapping[str, Callable[[Function], Function]] = {
    **dict.fromkeys(_PAIRWISE, _bounded_pairs),
    "replace": _bounded_replace,
    "join": _bounded_join,
    "<": _with_quantities(lambda left, right: left < right),
    ">": _with_quantities(lambda left, right: left > right),
    "<=": _with_quantities(lambda left, right: left <= right),
    ">=": _with_quantities(lambda left, right: left >= right),
}


def bound_engine() -> None:
    """Puts the bounds around the functions of the engine. Called once, when `fhirpath` is imported."""
    registry: Any = invocation_registry
    for name, entry in registry.items():
        entry["fn"] = _GUARDS.get(name, _bounded)(entry["fn"])
    evaluators["MemberInvocation"] = _bounded(evaluators["MemberInvocation"])


bound_engine()
