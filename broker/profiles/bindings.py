"""Bindings: whether a coded value has a code of a value set that is required."""

from collections.abc import Callable
from typing import Any

from broker.profiles.coded_values import membership
from broker.profiles.element_checks import Origin
from broker.profiles.found import Found
from broker.profiles.value_sets import Codes


def binding_check(
    codes: Codes, name: str, severity: str, origin: Origin
) -> Callable[[Any, str, Found], None]:
    """A check that is skipped for a value without code that only has extensions."""
    is_member = membership(codes)
    text = origin.text(f"no code is from the value set {name}, which is required here")

    def check(value: Any, path: str, found: Found) -> None:
        if value is not None and not is_member(value):
            found.add("code-invalid", path, text, severity, origin.element)

    return check
