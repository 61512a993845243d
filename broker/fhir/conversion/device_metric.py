"""DeviceMetric: how often it measures was a Timing and is a frequency; its Device became required, its parent went."""

from decimal import Decimal

import msgspec

from broker.fhir.conversion.rules import Codes, Kind, Node, Rule, absent, fields, gone, recoded

_UCUM = "http://unitsofmeasure.org"
_UNITS = {f"/{unit}": unit for unit in ("s", "min", "h", "d", "wk", "mo", "a")} | {"Hz": "s"}
_OLD_COLORS = frozenset({"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"})
_LONGEST = 12


def _frequency(given: Node) -> Node:
    """Where the Timing says no more than `so many times in such a time`, and a decimal can say it too."""
    timing: Node = given.get("measurementPeriod", {})
    repeat: Node = timing.get("repeat", {})
    if set(timing) != {"repeat"} or not {"period", "periodUnit"} <= set(repeat):
        return {}
    if not {"frequency", "period", "periodUnit"}.issuperset(repeat):
        return {}
    code = f"/{repeat['periodUnit']}"
    rate = _quotient(repeat.get("frequency", msgspec.Raw(b"1")), repeat["period"])
    if rate is None or code not in _UNITS:
        return {}
    return {"measurementFrequency": {"value": rate, "unit": code, "system": _UCUM, "code": code}}


def _timing(given: Node) -> Node:
    quantity: Node = given.get("measurementFrequency", {})
    unit = _UNITS.get(quantity.get("code", ""))
    is_plain = {"value", "unit", "system", "code"}.issuperset(quantity)
    if unit is None or not is_plain or quantity.get("system") != _UCUM or "value" not in quantity:
        return {}
    value, one = quantity["value"], msgspec.Raw(b"1")
    if bytes(value).isdigit():
        repeat = {"frequency": value, "period": one, "periodUnit": unit}
        return {"measurementPeriod": {"repeat": repeat}} if Decimal(bytes(value).decode()) else {}
    period = _quotient(one, value)
    if period is None:
        return {}
    return {"measurementPeriod": {"repeat": {"frequency": one, "period": period, "periodUnit": unit}}}


def _quotient(one: msgspec.Raw, other: msgspec.Raw) -> msgspec.Raw | None:
    """The exact quotient of two positive numbers, if it is short enough to be read."""
    dividend, divisor = (Decimal(bytes(number).decode()) for number in (one, other))
    if dividend <= 0 or divisor <= 0:
        return None
    quotient = dividend / divisor
    text = f"{quotient.normalize():f}"
    return msgspec.Raw(text.encode()) if quotient * divisor == dividend and len(text) <= _LONGEST else None


def _device(given: Node) -> Node:
    return {"device": given["source"] if "source" in given else absent()}


def _source(given: Node) -> Node:
    return {"source": given["device"]} if "device" in given and given["device"] != absent() else {}


KINDS = (
    Kind(
        "DeviceMetric",
        "DeviceMetric",
        (
            Rule(fields("source:Reference"), fields("device:Reference"), _device, _source),
            *gone("parent:Reference"),
            Codes("color", recoded({}), recoded({}, _OLD_COLORS)),
            Rule(
                fields("measurementPeriod:Timing"),
                fields("measurementFrequency:Quantity"),
                _frequency,
                _timing,
            ),
        ),
    ),
)
