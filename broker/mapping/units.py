"""Units of devices to the UCUM unit of a profile (V-23): exact factors, and as many digits as the source has.

A device's unit is looked up in the aliases of the mapping, the usual UCUM units, `ALIASES`, and all of UCUM,
in this order; one that is in none of them is never guessed. The usual conversions are in `conversions.tsv`;
others are computed by ucumvert, which takes a second to load, once.
"""

from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from broker.mapping.ucum_atoms import may_be_ucum

_CONTEXT = Context(prec=34)
_WIDE = Context(prec=200)  # room for the digits of every number that `numbers.read_number` lets through
_MAX_UNIT_CHARS = 40
_DIGITS = 28

ALIASES: Mapping[str, str] = {
    "%": "%", "percent": "%", "pct": "%", "fraction": "1",
    "bpm": "/min", "beats/min": "/min", "beats/minute": "/min", "beats per minute": "/min",
    "breaths/min": "/min", "breaths/minute": "/min", "breaths per minute": "/min", "brpm": "/min",
    "count/min": "/min", "count/s": "/s", "1/min": "/min", "rpm": "/min",
    "mmhg": "mm[Hg]", "mm hg": "mm[Hg]", "kpa": "kPa",
    "c": "Cel", "°c": "Cel", "degc": "Cel", "deg c": "Cel", "celsius": "Cel",
    "f": "[degF]", "°f": "[degF]", "degf": "[degF]", "deg f": "[degF]", "fahrenheit": "[degF]", "k": "K",
    "kg": "kg", "kgs": "kg", "kilogram": "kg", "kilograms": "kg", "gram": "g", "grams": "g",
    "lb": "[lb_av]", "lbs": "[lb_av]", "pound": "[lb_av]", "pounds": "[lb_av]",
    "oz": "[oz_av]", "st": "[stone_av]", "stone": "[stone_av]",
    "cm": "cm", "mm": "mm", "meter": "m", "meters": "m", "metre": "m", "metres": "m",
    "in": "[in_i]", "inch": "[in_i]", "inches": "[in_i]", "ft": "[ft_i]", "feet": "[ft_i]",
    "kg/m²": "kg/m2", "kg/m^2": "kg/m2",
    "mg/dl": "mg/dL", "mmol/l": "mmol/L", "mmol": "mmol/L",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "millisecond": "ms",
    "milliseconds": "ms", "mins": "min", "minute": "min", "minutes": "min", "hr": "h", "hrs": "h",
    "hour": "h", "hours": "h", "day": "d", "days": "d",
    "steps": "{steps}", "step": "{steps}", "count": "1",
    "cal": "cal", "kcal": "kcal", "calories": "kcal", "kilocalories": "kcal", "kj": "kJ",
    "mv": "mV", "uv": "uV", "µv": "uV", "millivolt": "mV", "volt": "V",
}  # fmt: skip
"""Units as devices write them, in small letters. One that differs between devices is not here: mappings have
aliases of their own (`units`)."""

ALIAS_UNITS = tuple(dict.fromkeys(ALIASES.values()))


class Conversion(NamedTuple):
    """value x factor + offset."""

    factor: Decimal
    offset: Decimal

    def apply(self, value: Decimal, *, is_integer: bool = False) -> Decimal:
        """The converted value: rounded so that its last digit is the last that the source justifies, and so
        that converting it back gives the source.
        """
        if self == IDENTITY:
            return value
        result = _CONTEXT.add(_CONTEXT.multiply(value, self.factor), self.offset)
        exponent = value.as_tuple().exponent
        last_digit = 0 if is_integer or not isinstance(exponent, int) else min(exponent, 0)
        step = self.factor.adjusted() + last_digit  # the magnitude of the source's last digit
        return result.quantize(Decimal(1).scaleb(min(step, 0)), context=_WIDE)


IDENTITY = Conversion(Decimal(1), Decimal(0))


@lru_cache(maxsize=4096)
def conversion(source: str, target: str, molar_mass: Decimal | None = None) -> Conversion | None:
    """From one UCUM unit to another; None if they measure different things or one is no UCUM unit.

    `molar_mass` (g/mol) is that of the analyte: with it, mass and molar concentrations convert.
    """
    if source == target:
        return IDENTITY
    if len(source) > _MAX_UNIT_CHARS or not source or any(ord(each) < 33 for each in source):
        return None
    found = _tabulated().get((source, target)) or _computed(source, target)
    if found is not None or molar_mass is None:
        return found
    to_mass, to_moles = _base(source, "g/L"), _base(source, "mol/L")
    if to_mass is not None and (back := _base("mol/L", target)) is not None:
        factor = _CONTEXT.divide(_CONTEXT.multiply(to_mass.factor, back.factor), molar_mass)
    elif to_moles is not None and (back := _base("g/L", target)) is not None:
        factor = _CONTEXT.multiply(_CONTEXT.multiply(to_moles.factor, back.factor), molar_mass)
    else:
        return None
    return Conversion(factor, Decimal(0))


def conversion_of(
    text: str, target: str, aliases: Mapping[str, str], molar_mass: Decimal | None
) -> Conversion | None:
    """From a unit as a device writes it; None if it is unknown or does not fit."""
    if len(text) > _MAX_UNIT_CHARS:
        return None
    return conversion(ucum_of(text, aliases), target, molar_mass)


def ucum_of(text: str, aliases: Mapping[str, str]) -> str:
    """The UCUM unit that a device means: by the aliases of its mapping, then a usual UCUM unit as it is, then
    by `ALIASES`; else the text itself, which may be any other UCUM unit.
    """
    text = text.strip()
    alias = aliases.get(text) or aliases.get(text.lower())
    if alias or text in _tabulated_units():
        return alias or text
    return ALIASES.get(text.lower(), text)


def candidates(target: str, aliases: Mapping[str, str], molar_mass: Decimal | None) -> tuple[str, ...]:
    """The UCUM units of the aliases that convert to the target: what an unknown unit could have been."""
    units = dict.fromkeys((target, *aliases.values(), *ALIAS_UNITS))
    return tuple(unit for unit in units if conversion(unit, target, molar_mass) is not None)


def load_ucum() -> None:
    """Loads ucumvert, so that no unit waits for it. Run it in a thread."""
    _registry()


def is_unit(code: str) -> bool:
    """Whether the text is a UCUM unit."""
    return code in _tabulated_units() or _parsed(code) is not None


def _base(source: str, target: str) -> Conversion | None:
    return IDENTITY if source == target else _tabulated().get((source, target)) or _computed(source, target)


@lru_cache(maxsize=1)
def _tabulated() -> Mapping[tuple[str, str], Conversion | None]:
    """What `conversions.tsv` has. A pair of its units that is not in it does not convert."""
    text = files("broker.mapping").joinpath("conversions.tsv").read_text()
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {
        (source, target): Conversion(Decimal(factor), Decimal(offset))
        for source, target, factor, offset in rows
    }


@lru_cache(maxsize=1)
def _tabulated_units() -> frozenset[str]:
    return frozenset(unit for pair in _tabulated() for unit in pair)


def _computed(source: str, target: str) -> Conversion | None:
    known = _tabulated_units()
    return None if source in known and target in known else compute(source, target)


def compute(source: str, target: str) -> Conversion | None:
    """As `conversion`, by ucumvert; without its cache, its table and molar masses."""
    units = _parsed(source), _parsed(target)
    if None in units:
        return None
    registry = _registry()
    try:
        at_0, at_1, at_2 = (
            _CONTEXT.plus(registry.Quantity(Decimal(n), units[0]).to(units[1]).magnitude) for n in (0, 1, 2)
        )
    except Exception:  # noqa: BLE001 Pint raises many kinds of errors for units that do not convert
        return None
    factor = at_1 - at_0
    tolerance = Decimal("1e-20") * max(abs(at_0), abs(at_1), abs(at_2))
    if not factor or abs((at_2 - at_1) - factor) > tolerance:
        return None  # not linear: pH, bel
    rounding = Context(prec=_DIGITS - 4)
    return Conversion(rounding.plus(factor).normalize(), rounding.plus(at_0).normalize())


@lru_cache(maxsize=1024)
def _parsed(code: str) -> Any:
    """The units of a UCUM code for Pint; None if it is no UCUM. A bare annotation is 1."""
    if not code or any(ord(each) < 33 for each in code) or len(code) > _MAX_UNIT_CHARS:
        return None
    if not may_be_ucum(code):
        return None
    bare = code.startswith("{") and code.endswith("}") and code.count("{") == 1
    try:
        return _registry().from_ucum("1" if bare else code).units
    except Exception:  # noqa: BLE001 the parser raises many kinds of errors for a bad unit, which is data
        return None


@lru_cache(maxsize=1)
def _registry() -> Any:
    from ucumvert import PintUcumRegistry  # noqa: PLC0415 takes a second, and most processes never need it

    return PintUcumRegistry(non_int_type=Decimal)
