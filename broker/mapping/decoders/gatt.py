"""Values of Bluetooth characteristics, by the GATT specification supplements of the medical services.

`decode_characteristic` gives the payload object that a mapping reads; docs/readings.md lists its members. A
value that is shorter or longer than its flags say is refused: half a reading must not become one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from broker.mapping.decoders.ieee_11073 import NAN, Number, float32, sfloat
from broker.mapping.decoders.undecodable import Undecodable

_BODY_SITES = {
    1: "armpit",
    2: "body",
    3: "ear",
    4: "finger",
    5: "gastro-intestinal tract",
    6: "mouth",
    7: "rectum",
    8: "toe",
    9: "tympanum",
}
_SAMPLES = {
    1: "capillary whole blood",
    2: "capillary plasma",
    3: "venous whole blood",
    4: "venous plasma",
    5: "arterial whole blood",
    6: "arterial plasma",
    7: "undetermined whole blood",
    8: "undetermined plasma",
    9: "interstitial fluid",
    10: "control solution",
}
_SAMPLE_SITES = {1: "finger", 2: "alternate site", 3: "earlobe", 4: "control solution", 15: "not available"}
_PRESSURE_STATUS = {
    0: "body movement",
    1: "cuff too loose",
    2: "irregular pulse",
    3: "pulse rate above range",
    4: "pulse rate below range",
    5: "improper position",
}
_GLUCOSE_STATUS = {
    0: "battery low",
    1: "sensor malfunction",
    2: "sample size insufficient",
    3: "strip insertion error",
    4: "strip type incorrect",
    5: "result too high for device",
    6: "result too low for device",
    7: "temperature too high",
    8: "temperature too low",
    9: "read interrupted",
    10: "general device fault",
    11: "time fault",
}
_OXIMETER_STATUS = {
    5: "measurement ongoing",
    6: "early estimate",
    7: "validated",
    8: "fully qualified",
    9: "from measurement storage",
    10: "demonstration",
    11: "testing",
    12: "calibration ongoing",
    13: "measurement unavailable",
    14: "questionable measurement",
    15: "invalid measurement",
}
_SENSOR_STATUS = {
    0: "extended display update ongoing",
    1: "equipment malfunction",
    2: "signal processing irregularity",
    3: "inadequate signal",
    4: "poor signal",
    5: "low perfusion",
    6: "erratic signal",
    7: "nonpulsatile signal",
    8: "questionable pulse",
    9: "signal analysis ongoing",
    10: "sensor interference",
    11: "sensor unconnected to user",
    12: "unknown sensor connected",
    13: "sensor displaced",
    14: "sensor malfunctioning",
    15: "sensor disconnected",
}
_NOT_MEASURED = 0xFFFF
Values = dict[str, Any]


class _Value:
    """Reads the fields of a value from its beginning."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def unsigned(self, size: int) -> int:
        end = self._position + size
        if end > len(self._content):
            place = f"byte {len(self._content)}"
            raise Undecodable(place, "The value ends before the fields that its flags name. Send it whole.")
        number = int.from_bytes(self._content[self._position : end], "little")
        self._position = end
        return number

    def signed(self, size: int) -> int:
        number = self.unsigned(size)
        return number - (1 << 8 * size) if number >> (8 * size - 1) else number

    def sfloat(self) -> Number:
        return sfloat(self.unsigned(2))

    def float32(self) -> Number:
        return float32(self.unsigned(4))

    def time(self, offset: str) -> datetime | None:
        """A Date Time; None where the device says that it does not know the year, month or day."""
        place = f"byte {self._position}"
        year, month, day = self.unsigned(2), self.unsigned(1), self.unsigned(1)
        hour, minute, second = self.unsigned(1), self.unsigned(1), self.unsigned(1)
        if not (year and month and day):
            return None
        try:
            text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{offset}"
            return datetime.fromisoformat(text)
        except ValueError:
            raise Undecodable(place, "The time stamp is no date and time. Set the device's clock.") from None

    @property
    def rest(self) -> int:
        """How many bytes are left."""
        return len(self._content) - self._position


def decode_characteristic(
    number: str, content: bytes, *, device: str = "", patient: str = "", offset: str = ""
) -> Values:
    """The payload object of the value of a characteristic, which its assigned number names in hexadecimal.

    `device` and `patient` are `system|value`; `offset` is that of the device's clock, as in `+02:00` (default
    UTC). Raises `Undecodable`.
    """
    name = number.upper().removeprefix("0X")
    decoder = _DECODERS.get(name)
    if decoder is None:
        text = f"The characteristic is none of {', '.join(_DECODERS)}. Send one of these."
        raise Undecodable("format", text)
    values: Values = {"gatt": name}
    for member, text in (("device", device), ("patient", patient)):
        if text:
            system, mark, value = text.rpartition("|")
            if not mark or not system or not value:
                raise Undecodable(member, f"The parameter {member} is not system|value. Send both.")
            values[member] = {"system": system, "value": value}
    fields = _Value(content)
    values |= decoder(fields, _checked_offset(offset))
    if fields.rest:
        place = f"byte {len(content) - fields.rest}"
        raise Undecodable(place, "The value has more bytes than its flags say. Send one value.")
    return values


def _checked_offset(offset: str) -> str:
    try:
        datetime.fromisoformat(f"2000-01-01T00:00:00{offset or 'Z'}").utcoffset()
    except ValueError:
        raise Undecodable("offset", "The parameter offset is no offset. Send one such as +02:00.") from None
    if offset not in {"", "Z"} and offset[0] not in "+-":
        raise Undecodable("offset", "The parameter offset is no offset. Send one such as +02:00.")
    return offset.replace("Z", "+00:00") or "+00:00"


def _blood_pressure(value: _Value, offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {
        "systolic": value.sfloat(),
        "diastolic": value.sfloat(),
        "mean": value.sfloat(),
        "unit": "kPa" if flags & 1 else "mm[Hg]",
    }
    values |= _time(value, offset) if flags & 2 else {}
    if flags & 4:
        values["pulseRate"] = value.sfloat()
    if flags & 8:
        values["userId"] = value.unsigned(1)
    if flags & 16:
        values["status"] = _status(value.unsigned(2), _PRESSURE_STATUS)
    return values


def _temperature(value: _Value, offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {"temperature": value.float32(), "unit": "[degF]" if flags & 1 else "Cel"}
    values |= _time(value, offset) if flags & 2 else {}
    if flags & 4:
        values["site"] = _named(value.unsigned(1), _BODY_SITES)
    return values


def _glucose(value: _Value, offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {"sequence": value.unsigned(2)}
    base = value.time(offset)
    shift = timedelta(minutes=value.signed(2)) if flags & 1 else timedelta()
    if base is not None:
        try:
            values["time"] = (base + shift).isoformat()
        except OverflowError:
            raise Undecodable(
                "byte 10", "The time offset leaves the calendar. Set the device's clock."
            ) from None
    if flags & 2:
        concentration, kinds = value.sfloat(), value.unsigned(1)
        # kg/L to mg/dL and mol/L to mmol/L are powers of ten: the digits stay
        values["glucose"] = (
            concentration if isinstance(concentration, str) else concentration.scaleb(3 if flags & 4 else 5)
        )
        values["unit"] = "mmol/L" if flags & 4 else "mg/dL"
        values["sample"] = _named(kinds & 15, _SAMPLES)
        values["location"] = _named(kinds >> 4, _SAMPLE_SITES)
    if flags & 8:
        values["status"] = _status(value.unsigned(2), _GLUCOSE_STATUS)
    return values


def _weight(value: _Value, offset: str) -> Values:
    flags = value.unsigned(1)
    is_imperial = bool(flags & 1)
    resolution = Decimal("0.01") if is_imperial else Decimal("0.005")
    values: Values = {
        "weight": _measured(value.unsigned(2), resolution),
        "unit": "[lb_av]" if is_imperial else "kg",
    }
    values |= _time(value, offset) if flags & 2 else {}
    if flags & 4:
        values["userId"] = value.unsigned(1)
    if flags & 8:
        values["bmi"] = value.unsigned(2) * Decimal("0.1")
        values["height"] = value.unsigned(2) * (Decimal("0.1") if is_imperial else Decimal("0.001"))
        values["heightUnit"] = "[in_i]" if is_imperial else "m"
    return values


def _spot_check(value: _Value, offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {"spo2": value.sfloat(), "pulseRate": value.sfloat()}
    values |= _time(value, offset) if flags & 1 else {}
    values |= _oximeter_status(value, flags >> 1)
    if flags & 16:
        values["clockSet"] = False
    return values


def _continuous(value: _Value, _offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {"spo2": value.sfloat(), "pulseRate": value.sfloat()}
    for bit, name in ((1, "Fast"), (2, "Slow")):
        if flags & bit:
            values[f"spo2{name}"], values[f"pulseRate{name}"] = value.sfloat(), value.sfloat()
    return values | _oximeter_status(value, flags >> 2)


def _heart_rate(value: _Value, _offset: str) -> Values:
    flags = value.unsigned(1)
    values: Values = {"heartRate": value.unsigned(2 if flags & 1 else 1)}
    if flags & 4:
        values["sensorContact"] = bool(flags & 2)
    if flags & 8:
        values["energy"], values["energyUnit"] = value.unsigned(2), "kJ"
    if flags & 16:
        # 1/1024 s: the quotient is exact
        values["rrIntervals"] = [
            value.unsigned(2) / Decimal(1024) for _ in range(max(1, (value.rest + 1) // 2))
        ]
        values["rrUnit"] = "s"
    return values


def _oximeter_status(value: _Value, flags: int) -> Values:
    values: Values = {}
    if flags & 1:
        values["status"] = _status(value.unsigned(2), _OXIMETER_STATUS)
    if flags & 2:
        values["sensorStatus"] = _status(value.unsigned(3), _SENSOR_STATUS)
    if flags & 4:
        values["pulseAmplitudeIndex"] = value.sfloat()
    return values


def _time(value: _Value, offset: str) -> Values:
    moment = value.time(offset)
    return {} if moment is None else {"time": moment.isoformat()}


def _measured(number: int, resolution: Decimal) -> Number:
    return NAN if number == _NOT_MEASURED else number * resolution


def _named(number: int, names: Mapping[int, str]) -> str:
    return names.get(number, f"code {number}")


def _status(bits: int, names: Mapping[int, str]) -> Sequence[str]:
    return [names.get(bit, f"bit {bit}") for bit in range(24) if bits >> bit & 1]


_DECODERS: Mapping[str, Callable[[_Value, str], Values]] = {
    "2A1C": _temperature,
    "2A18": _glucose,
    "2A35": _blood_pressure,
    "2A37": _heart_rate,
    "2A5E": _spot_check,
    "2A5F": _continuous,
    "2A9D": _weight,
}
CHARACTERISTICS = frozenset(_DECODERS)
