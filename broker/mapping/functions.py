"""The functions of expressions in mapping files: those of JMESPath, taught to compute with `Decimal`, and
our own.

The arithmetic functions and those of Unix times have the names and results that MedTech templates use. None
of the functions takes a regular expression, and none can run for long.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from jmespath import functions

from broker.mapping.codes import widen_mdc

_CONTEXT = Context(prec=34)
_ANY: dict[str, list[str]] = {"types": []}
_TEXT = {"types": ["string"]}
_NUMBER = {"types": ["number"]}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TEXT = 100_000


class Scope:
    """What an expression can see: the selected `item`, the items that it was selected from, and the payload.
    `items[0]` is the payload and `items[-1]` the item.
    """

    __slots__ = ("_functions", "items", "position")

    def __init__(self, items: tuple[Any, ...], position: int) -> None:
        self.items = items
        self.position = position
        self._functions: MappingFunctions | None = None

    @property
    def item(self) -> Any:
        return self.items[-1]

    @property
    def functions(self) -> "MappingFunctions":
        if self._functions is None:
            self._functions = MappingFunctions(self)
        return self._functions


def _signature(*arguments: dict[str, list[str]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    decorated: Callable[[Callable[..., Any]], Callable[..., Any]] = functions.signature(*arguments)
    return decorated


class MappingFunctions(functions.Functions):  # type: ignore[misc]  # the library has no types
    """The functions for one scope. A call with arguments of wrong types raises a `JMESPathError`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    # the library asks for the names of Python types, and does not know Decimal

    def _get_allowed_pytypes(self, types: list[str]) -> tuple[list[str], list[list[str]]]:
        allowed, subtypes = super()._get_allowed_pytypes(types)
        if "float" in allowed:
            allowed.append("Decimal")
        return allowed, [[*names, "Decimal"] if "float" in names else names for names in subtypes]

    def _convert_to_jmespath_type(self, pyobject: str) -> str:
        return "number" if pyobject == "Decimal" else str(super()._convert_to_jmespath_type(pyobject))

    @_signature(_ANY)
    def _func_type(self, value: Any) -> Any:
        return "number" if isinstance(value, Decimal) else super()._func_type(value)

    @_signature(_ANY)
    def _func_to_number(self, value: Any) -> Any:
        if isinstance(value, Decimal):
            return value
        if isinstance(value, str):
            try:
                number = Decimal(value.strip())
            except ArithmeticError:
                return None
            return (number if number.as_tuple().exponent else int(number)) if number.is_finite() else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @_signature({"types": ["array-number"]})
    def _func_avg(self, values: Any) -> Any:
        return _CONTEXT.divide(Decimal(sum(values)), Decimal(len(values))) if values else None

    @_signature(_NUMBER)
    def _func_ceil(self, value: Any) -> Any:
        return math.ceil(value)

    # ours

    @_signature()
    def _func_payload(self) -> Any:
        """The whole payload."""
        return self._scope.items[0]

    @_signature()
    def _func_outer(self) -> Any:
        """What the item was selected from: the item of the step before."""
        return self._scope.items[max(len(self._scope.items) - 2, 0)]

    @_signature()
    def _func_position(self) -> int:
        """The position of the item among those selected, from 0."""
        return self._scope.position

    @_signature(_ANY)
    def _func_mdc(self, code: Any) -> int | None:
        """The 32-bit number of an MDC code that may be 16 bits wide."""
        number = self._func_to_number(code)
        return widen_mdc(int(number)) if isinstance(number, int) else None

    @_signature(_TEXT)
    def _func_lower(self, text: str) -> str:
        return text.lower()

    @_signature(_TEXT)
    def _func_upper(self, text: str) -> str:
        return text.upper()

    @_signature(_TEXT)
    def _func_trim(self, text: str) -> str:
        return text.strip()

    @_signature(_TEXT, _TEXT)
    def _func_split(self, separator: str, text: str) -> list[str]:
        return text.split(separator) if separator else [text]

    @_signature(_NUMBER, _NUMBER)
    def _func_add(self, left: Any, right: Any) -> Decimal:
        return _CONTEXT.add(_decimal(left), _decimal(right))

    @_signature(_NUMBER, _NUMBER)
    def _func_subtract(self, left: Any, right: Any) -> Decimal:
        return _CONTEXT.subtract(_decimal(left), _decimal(right))

    @_signature(_NUMBER, _NUMBER)
    def _func_multiply(self, left: Any, right: Any) -> Decimal:
        return _CONTEXT.multiply(_decimal(left), _decimal(right))

    @_signature(_NUMBER, _NUMBER)
    def _func_divide(self, left: Any, right: Any) -> Decimal:
        return _CONTEXT.divide(_decimal(left), _decimal(right))

    @_signature(_NUMBER, _NUMBER)
    def _func_pow(self, left: Any, right: Any) -> Decimal:
        return _CONTEXT.power(_decimal(left), _decimal(right))

    @_signature(_TEXT, _TEXT, _NUMBER)
    def _func_insertString(self, text: str, inserted: str, position: Any) -> str:  # noqa: N802 their name
        if not 0 <= position <= len(text) or len(text) + len(inserted) > _MAX_TEXT:
            raise ValueError("the position is outside of the text")
        return text[: int(position)] + inserted + text[int(position) :]

    @_signature(_NUMBER)
    def _func_fromUnixTimestamp(self, seconds: Any) -> str:  # noqa: N802 their name
        return (_EPOCH + timedelta(seconds=int(seconds))).isoformat()

    @_signature(_NUMBER)
    def _func_fromUnixTimestampMs(self, milliseconds: Any) -> str:  # noqa: N802 their name
        return (_EPOCH + timedelta(milliseconds=int(milliseconds))).isoformat()


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(repr(value))
