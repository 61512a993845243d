"""UCUM units: which numbers in one unit can be told in another (R-402).

Only units that measure the same thing on a linear scale, with or without an offset (Cel, [degF]), are converted. Logarithmic
units (pH, bel, neper) and arbitrary ones ([iU], [CFU]: each defined by its own procedure) equal nothing but the same code.
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
    """Whether the unit is on a scale that other units share."""
    plain = _ANNOTATION.sub("", code)
    if _ARBITRARY.search(plain):
        return False
    return not any(_LOGARITHMIC.fullmatch(one) for one in _COMPONENT.findall(plain))


@lru_cache(maxsize=4096)
def conversion(given: str, wanted: str) -> Callable[[Decimal], Decimal] | None:
    """How to turn a number in one UCUM unit into another, offsets included; None where it can't be done."""
    if len(given) > _MAX_UNIT_CHARS or len(wanted) > _MAX_UNIT_CHARS:
        return None
    if not is_convertible(given) or not is_convertible(wanted):
        return None
    registry = _registry()
    try:
        source, target = registry.from_ucum(given).units, registry.from_ucum(wanted).units
        zero, one, two = (float(registry.Quantity(n, source).to(target).magnitude) for n in (0.0, 1.0, 2.0))
    except Exception:  # noqa: BLE001 a unit comes from data, and the parser and Pint raise many kinds of error for a bad one
        return None
    if abs((two - one) - (one - zero)) > 1e-9 * max(abs(zero), abs(one), abs(two)):
        return None  # not linear
    offset = Decimal(str(zero))
    factor = Decimal(str(one)) - offset

    def convert(value: Decimal) -> Decimal:
        scaled = value * factor
        if not scaled and not offset:
            return scaled
        # floats brought about 15 digits: the last of them are noise that would spoil comparisons at a boundary
        digits = max(part.adjusted() for part in (scaled, offset) if part) - 10
        try:
            return (scaled + offset).quantize(Decimal(1).scaleb(digits), context=_WIDE)
        except InvalidOperation:
            raise BadValue("a quantity out of range") from None

    return convert


@lru_cache(maxsize=1)
def _registry() -> Any:
    """Costs most of a second to build, so only the first conversion does."""
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 a slow import that most processes never need

    return PintUcumRegistry()
