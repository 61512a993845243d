"""Bluetooth characteristics: values as devices send them, and values that are cut, too long or wrong."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.decoders.gatt import CHARACTERISTICS, decode_characteristic
from broker.mapping.decoders.undecodable import Undecodable

_TIME = "EA07 0B 1A 08 1E 00"  # 2026-11-26 08:30:00
CORPUS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "blood pressure with all fields": (
        "2A35",
        f"1E 7800 5000 5D00 {_TIME} 4800 01 0500",
        {
            "systolic": Decimal(120),
            "diastolic": Decimal(80),
            "mean": Decimal(93),
            "unit": "mm[Hg]",
            "time": "2026-11-26T08:30:00+00:00",
            "pulseRate": Decimal(72),
            "userId": 1,
            "status": ["body movement", "irregular pulse"],
        },
    ),
    "blood pressure in kPa, the mean not measured": (
        "2A35",
        "01 A0F0 6AF0 FF07",
        {"systolic": Decimal("16.0"), "diastolic": Decimal("10.6"), "mean": "NaN", "unit": "kPa"},
    ),
    "temperature in the ear": (
        "2A1C",
        f"06 6C0100FF {_TIME} 03",
        {"temperature": Decimal("36.4"), "unit": "Cel", "time": "2026-11-26T08:30:00+00:00", "site": "ear"},
    ),
    "temperature in Fahrenheit without a time": (
        "2A1C",
        "01 DA0300FF",
        {"temperature": Decimal("98.6"), "unit": "[degF]"},
    ),
    "glucose in kg/L, an hour before the base time": (
        "2A18",
        f"03 0700 {_TIME} C4FF 5AB0 11",
        {
            "sequence": 7,
            "time": "2026-11-26T07:30:00+00:00",
            "glucose": Decimal(90),
            "unit": "mg/dL",
            "sample": "capillary whole blood",
            "location": "finger",
        },
    ),
    "glucose in mol/L with a status": (
        "2A18",
        f"0E 0800 {_TIME} 37C0 F9 0400",
        {
            "sequence": 8,
            "time": "2026-11-26T08:30:00+00:00",
            "glucose": Decimal("5.5"),
            "unit": "mmol/L",
            "sample": "interstitial fluid",
            "location": "not available",
            "status": ["sample size insufficient"],
        },
    ),
    "glucose without a concentration": (
        "2A18",
        f"00 0900 {_TIME}",
        {"sequence": 9, "time": "2026-11-26T08:30:00+00:00"},
    ),
    "weight with body mass index and height": (
        "2A9D",
        "08 1C3E E600 D606",
        {
            "weight": Decimal("79.500"),
            "unit": "kg",
            "bmi": Decimal("23.0"),
            "height": Decimal("1.750"),
            "heightUnit": "m",
        },
    ),
    "weight in pounds of a known user": (
        "2A9D",
        f"07 983A {_TIME} 02",
        {"weight": Decimal("150.00"), "unit": "[lb_av]", "time": "2026-11-26T08:30:00+00:00", "userId": 2},
    ),
    "weight that could not be taken": ("2A9D", "00 FFFF", {"weight": "NaN", "unit": "kg"}),
    "oximeter, a spot check whose clock is not set": (
        "2A5E",
        "1E 6100 4800 8000 200000 0EF0",
        {
            "spo2": Decimal(97),
            "pulseRate": Decimal(72),
            "status": ["validated"],
            "sensorStatus": ["low perfusion"],
            "pulseAmplitudeIndex": Decimal("1.4"),
            "clockSet": False,
        },
    ),
    "oximeter, continuous with fast and slow values": (
        "2A5F",
        "03 6100 4800 6000 4900 6200 4700",
        {
            "spo2": Decimal(97),
            "pulseRate": Decimal(72),
            "spo2Fast": Decimal(96),
            "pulseRateFast": Decimal(73),
            "spo2Slow": Decimal(98),
            "pulseRateSlow": Decimal(71),
        },
    ),
    "heart rate of 8 bits": ("2A37", "06 48", {"heartRate": 72, "sensorContact": True}),
    "heart rate of 16 bits with energy and intervals": (
        "2A37",
        "19 2C01 0A00 0004 0002",
        {
            "heartRate": 300,
            "energy": 10,
            "energyUnit": "kJ",
            "rrIntervals": [Decimal(1), Decimal("0.5")],
            "rrUnit": "s",
        },
    ),
}


def refused_at(number: str, value: bytes) -> str:
    """The place at which the value is refused; '' for one that is decoded."""
    try:
        assert decode_characteristic(number, value)["gatt"] == number
    except Undecodable as error:
        return error.place or "nowhere"
    return ""


def content(case: str) -> tuple[str, bytes, dict[str, Any]]:
    number, text, expected = CORPUS[case]
    return number, bytes.fromhex(text), {"gatt": number} | expected


@pytest.mark.parametrize("case", CORPUS)
def test_a_value_is_decoded(case: str) -> None:
    number, value, expected = content(case)
    decoded = decode_characteristic(number, value)
    assert decoded == expected
    assert {name: str(each) for name, each in decoded.items()} == {
        name: str(each) for name, each in expected.items()
    }, "with the digits that the device sent"


@pytest.mark.parametrize("case", CORPUS)
def test_a_value_that_is_cut_or_continued_is_refused_where_it_is_wrong(case: str) -> None:
    number, value, _ = content(case)
    for end in range(len(value)):
        place = refused_at(number, value[:end])
        # a heart rate with an interval fewer is a whole value
        assert place == f"byte {end}" or (number == "2A37" and not place)
    with pytest.raises(Undecodable) as refused:
        decode_characteristic(number, value + b"\x00")
    assert refused.value.place.startswith("byte")


def test_every_characteristic_is_in_the_corpus() -> None:
    assert {number for number, _, _ in CORPUS.values()} == CHARACTERISTICS


def test_parameters_name_device_patient_and_offset() -> None:
    value = bytes.fromhex(f"02 6C0100FF {_TIME}")
    decoded = decode_characteristic(
        "0x2a1c", value, device="urn:oid:1.2|AB:CD", patient="urn:p|x|1", offset="+02:00"
    )
    assert decoded["device"] == {"system": "urn:oid:1.2", "value": "AB:CD"}
    assert decoded["time"] == "2026-11-26T08:30:00+02:00"
    for wrong in ({"device": "d1"}, {"patient": "|1"}, {"offset": "Berlin"}, {"offset": "2"}):
        with pytest.raises(Undecodable) as refused:
            decode_characteristic("2A1C", value, **wrong)
        assert refused.value.place in wrong


def test_a_time_that_is_none_is_left_out_or_refused() -> None:
    unknown = bytes.fromhex("02 6C0100FF 0000 00 00 00 00 00")
    assert "time" not in decode_characteristic("2A1C", unknown)
    with pytest.raises(Undecodable):
        decode_characteristic("2A1C", bytes.fromhex("02 6C0100FF EA07 0D 1A 08 1E 00"))
    with pytest.raises(Undecodable):
        decode_characteristic("2B00", b"")


@given(st.sampled_from(sorted(CHARACTERISTICS)), st.binary(max_size=32))
def test_any_bytes_are_decoded_or_refused(number: str, value: bytes) -> None:
    assert refused_at(number, value) != "nowhere"


_clock_times = st.datetimes
"""Without a zone, as the device's clock."""
FIRST, LAST = datetime.fromisoformat("1582-01-01"), datetime.fromisoformat("9999-12-31")
THIS, NEXT = datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2099-12-31")


def bits(number: Decimal) -> bytes:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
    return ((mantissa & 0xFFF) | (exponent & 0xF) << 12).to_bytes(2, "little")


@given(
    st.lists(
        st.builds(
            lambda mantissa, exponent: Decimal(mantissa).scaleb(exponent),
            st.integers(0, 2000),
            st.integers(-8, 7),
        ),
        min_size=4,
        max_size=4,
    ),
    st.none() | _clock_times(FIRST, LAST),
    st.none() | st.integers(0, 255),
)
def test_what_a_blood_pressure_monitor_encodes_is_decoded(
    numbers: list[Decimal], moment: datetime | None, user: int | None
) -> None:
    flags = 4 | (2 if moment else 0) | (8 if user is not None else 0)
    value = bytes([flags]) + b"".join(map(bits, numbers[:3]))
    if moment:
        value += moment.year.to_bytes(2, "little") + bytes(
            [moment.month, moment.day, moment.hour, moment.minute, moment.second]
        )
    value += bits(numbers[3]) + (b"" if user is None else bytes([user]))
    decoded = decode_characteristic("2A35", value)
    assert [decoded[name] for name in ("systolic", "diastolic", "mean", "pulseRate")] == numbers
    assert decoded.get("userId") == user
    if moment:
        read = datetime.fromisoformat(decoded["time"]).replace(tzinfo=None)
        assert read == moment.replace(microsecond=0)


@given(_clock_times(THIS, NEXT), st.integers(-32768, 32767))
def test_the_time_of_a_glucose_measurement_is_its_base_time_and_its_offset(
    moment: datetime, minutes: int
) -> None:
    value = b"\x01\x01\x00" + moment.year.to_bytes(2, "little")
    value += bytes([moment.month, moment.day, moment.hour, moment.minute, moment.second])
    value += minutes.to_bytes(2, "little", signed=True)
    read = datetime.fromisoformat(decode_characteristic("2A18", value)["time"]).replace(tzinfo=None)
    assert read == moment.replace(microsecond=0) + timedelta(minutes=minutes)
