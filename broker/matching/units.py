"""Conversion between UCUM units (R-402).

Converts between units of the same dimension on a linear scale, with or without an offset (Cel, [degF]).
Logarithmic units (pH, bel, neper) and arbitrary units ([iU], [CFU]: each defined by its own procedure) only
equal the same code.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from broker.matching.values import BadValue

UCUM = "http://unitsofmeasure.org"
_MAX_UNIT_CHARS = 80
_WIDE = Context(prec=80)
_COMPONENT = re.compile(r"(?:[^./()\[\]{}]|\[[^\]]*\]|\{[^}]*\})+")
_ANNOTATION = re.compile(r"\{[^}]*\}")
_LOGARITHMIC = re.compile(r"(?:da|[YZEPTGMkhdcmunpfazy])?(?:B|Np|bit_s)(?:\[.*\])?[+-]?\d*")
_ARBITRARY = re.compile(
    r"""'U\] | \[(?: iU | IU | pH | (?:CC|TC|E)ID_50 | [PFC]FU | BAU | AU | PNU | Lf | FEU | ELU | EU | IR
    | [hk]p_[XCMQ] | hp'_[XCMQ] | p'diop | m/s2/Hz\^0\.5 )\] | %\[slope\]""",
    re.VERBOSE,
)


def is_convertible(code: str) -> bool:
    """Whether the unit can be converted to other units at all."""
    plain = _ANNOTATION.sub("", code)
    if _ARBITRARY.search(plain):
        return False
    return not any(_LOGARITHMIC.fullmatch(component) for component in _COMPONENT.findall(plain))


@lru_cache(maxsize=4096)
def conversion(source_code: str, target_code: str) -> Callable[[Decimal], Decimal] | None:
    """A function that converts a number from one UCUM unit to another, offset included; None if there is
    none.
    """
    if len(source_code) > _MAX_UNIT_CHARS or len(target_code) > _MAX_UNIT_CHARS:
        return None
    if not is_convertible(source_code) or not is_convertible(target_code):
        return None
    registry = _registry()
    try:
        source, target = registry.from_ucum(source_code).units, registry.from_ucum(target_code).units
        at_0, at_1, at_2 = (float(registry.Quantity(n, source).to(target).magnitude) for n in (0.0, 1.0, 2.0))
    except Exception:  # noqa: BLE001 the parser and Pint raise many kinds of errors for a bad unit, which is data
        return None
    if abs((at_2 - at_1) - (at_1 - at_0)) > 1e-9 * max(abs(at_0), abs(at_1), abs(at_2)):
        return None  # not linear
    offset = Decimal(str(at_0))
    factor = Decimal(str(at_1)) - offset

    def convert(value: Decimal) -> Decimal:
        scaled = value * factor
        if not scaled and not offset:
            return scaled
        # the floats have about 15 digits; the last digits are noise that would break comparisons at a
        # boundary
        digits = max(part.adjusted() for part in (scaled, offset) if part) - 10
        try:
            return (scaled + offset).quantize(Decimal(1).scaleb(digits), context=_WIDE)
        except InvalidOperation:
            raise BadValue("the quantity is out of range") from None

    return convert


@lru_cache(maxsize=1)
def _registry() -> Any:
    """Takes most of a second to build, so it is built at the first conversion."""
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 a slow import that most processes never need

    return PintUcumRegistry()
