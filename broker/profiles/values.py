"""Values in a resource: equality with a fixed value, patterns, and the values at a discriminator's path."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

Value = Any
"""A value of decoded JSON: numbers are `int` or `Decimal`."""


def plain(value: Any) -> Any:
    """The value of a definition as a resource would have it, for comparison."""
    if isinstance(value, float):
        return Decimal(str(value))
    return value


def is_equal(value: Value, fixed: Value) -> bool:
    """Deep equality: nothing is missing, nothing is added. `true` is not 1."""
    if isinstance(fixed, dict):
        return (
            isinstance(value, dict)
            and value.keys() == fixed.keys()
            and all(is_equal(value[name], each) for name, each in fixed.items())
        )
    if isinstance(fixed, list):
        return (
            isinstance(value, list)
            and len(value) == len(fixed)
            and all(is_equal(one, other) for one, other in zip(value, fixed, strict=True))
        )
    return isinstance(value, bool) == isinstance(fixed, bool) and bool(value == fixed)


def matcher(pattern: Value) -> Callable[[Value], bool]:
    """Whether a value has everything that the pattern has; each item of a list in any place."""
    if isinstance(pattern, dict):
        members = tuple((name, matcher(each)) for name, each in pattern.items())

        def has_members(value: Value) -> bool:
            if value.__class__ is not dict:
                return False
            for name, is_met in members:  # noqa: SIM110 a generator would cost more than the rest
                if name not in value or not is_met(value[name]):
                    return False
            return True

        return has_members
    if isinstance(pattern, list):
        items = tuple(matcher(each) for each in pattern)
        return lambda value: (
            isinstance(value, list) and all(any(is_met(item) for item in value) for is_met in items)
        )
    if isinstance(pattern, str):
        return lambda value: bool(value == pattern)
    return lambda value: is_equal(value, pattern)


def child_values(value: Value, name: str) -> Sequence[Value]:
    """The values of a child of an object; `value` also finds the type of choice that is there."""
    if value.__class__ is not dict:
        return ()
    found = value.get(name)
    if found is None:
        found = _chosen(value, name)
    if found.__class__ is list:
        values: Sequence[Value] = found
        return values
    return () if found is None else (found,)


def _chosen(value: Mapping[str, Any], choice: str) -> Value:
    end = len(choice)
    for name in value:
        if name.startswith(choice) and name[end : end + 1].isupper():
            return value[name]
    return None


def children(value: Value, name: str) -> Iterator[Value]:
    """The values of a child, one after another."""
    return iter(child_values(value, name))


def items_of(owner: Mapping[str, Any], name: str) -> Sequence[Value]:
    """The items of an element that is present: a primitive with extensions only is None."""
    value, siblings = owner.get(name), owner.get(f"_{name}")
    if isinstance(value, list) or isinstance(siblings, list):
        values = value if isinstance(value, list) else []
        count = max(len(values), len(siblings) if isinstance(siblings, list) else 0)
        return [*values, *([None] * (count - len(values)))]
    return (value,)


def referenced_type(reference: Mapping[str, Any]) -> str:
    """The type of resource that a Reference names; '' if it says none."""
    text = reference.get("reference")
    if isinstance(text, str) and not text.startswith(("#", "urn:")):
        kind = text.partition("/")[0]
        if kind[:1].isupper() and kind.isalpha() and kind != text:
            return kind
        parts = text.partition("/_history/")[0].partition("?")[0].split("/")
        kind = parts[-2] if len(parts) > 1 else ""
        if kind[:1].isupper() and kind.isalpha():
            return kind
    declared = reference.get("type")
    return declared.rpartition("/")[2] if isinstance(declared, str) else ""
