"""Rules for DeviceMetric: a frequency instead of a Timing, a required Device, and no parent in R5."""

from decimal import Decimal

import msgspec

from broker.fhir.conversion.type_rules import (
    CodeRule,
    ElementRule,
    JsonElement,
    TypeRules,
    absent_value,
    code_map,
    elements,
    only_in_r4,
)

_UCUM = "http://unitsofmeasure.org"
_UNITS = {f"/{unit}": unit for unit in ("s", "min", "h", "d", "wk", "mo", "a")} | {"Hz": "s"}
_R4_COLORS = frozenset({"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"})
_MAX_DIGITS = 12
_ONE = msgspec.Raw(b"1")


def _frequency(source: JsonElement) -> JsonElement:
    """The frequency of a Timing that only says how often in which period, if a decimal can express it
    exactly.
    """
    timing: JsonElement = source.get("measurementPeriod", {})
    repeat: JsonElement = timing.get("repeat", {})
    if set(timing) != {"repeat"} or not {"period", "periodUnit"} <= set(repeat):
        return {}
    if not {"frequency", "period", "periodUnit"}.issuperset(repeat):
        return {}
    code = f"/{repeat['periodUnit']}"
    rate = _quotient(repeat.get("frequency", _ONE), repeat["period"])
    if rate is None or code not in _UNITS:
        return {}
    return {"measurementFrequency": {"value": rate, "unit": code, "system": _UCUM, "code": code}}


def _timing(source: JsonElement) -> JsonElement:
    quantity: JsonElement = source.get("measurementFrequency", {})
    unit = _UNITS.get(quantity.get("code", ""))
    is_plain = {"value", "unit", "system", "code"}.issuperset(quantity)
    if unit is None or not is_plain or quantity.get("system") != _UCUM or "value" not in quantity:
        return {}
    value = quantity["value"]
    if bytes(value).isdigit():
        repeat = {"frequency": value, "period": _ONE, "periodUnit": unit}
        return {"measurementPeriod": {"repeat": repeat}} if Decimal(bytes(value).decode()) else {}
    period = _quotient(_ONE, value)
    if period is None:
        return {}
    return {"measurementPeriod": {"repeat": {"frequency": _ONE, "period": period, "periodUnit": unit}}}


def _quotient(numerator: msgspec.Raw, denominator: msgspec.Raw) -> msgspec.Raw | None:
    """The exact quotient of two positive numbers, None if it has more than `_MAX_DIGITS` characters."""
    dividend, divisor = (Decimal(bytes(number).decode()) for number in (numerator, denominator))
    if dividend <= 0 or divisor <= 0:
        return None
    quotient = dividend / divisor
    text = f"{quotient.normalize():f}"
    return msgspec.Raw(text.encode()) if quotient * divisor == dividend and len(text) <= _MAX_DIGITS else None


def _device(source: JsonElement) -> JsonElement:
    return {"device": source["source"] if "source" in source else absent_value()}


def _source(source: JsonElement) -> JsonElement:
    return {"source": source["device"]} if "device" in source and source["device"] != absent_value() else {}


TYPE_RULES = (
    TypeRules(
        "DeviceMetric",
        "DeviceMetric",
        (
            ElementRule(elements("source:Reference"), elements("device:Reference"), _device, _source),
            *only_in_r4("parent:Reference"),
            CodeRule("color", code_map({}), code_map({}, _R4_COLORS)),
            ElementRule(
                elements("measurementPeriod:Timing"),
                elements("measurementFrequency:Quantity"),
                _frequency,
                _timing,
            ),
        ),
    ),
)
