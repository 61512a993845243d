"""Laws of numbers and quantities and their comparison."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import quantities
from broker.matching.quantities import Span
from broker.matching.units import UCUM
from broker.matching.values import BadValue
from broker.model.search import Comparator

C = Comparator


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("100", "99.5", "100.5"), ("100.00", "99.995", "100.005"), ("-5", "-5.5", "-4.5")],
)
def test_a_number_covers_the_interval_of_its_precision(text: str, low: str, high: str) -> None:
    parsed = quantities.parse_number(text)
    assert (parsed.low, parsed.high) == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["", "ten", "1e999", "NaN", "Infinity", "1_0", "0x1"])
def test_an_invalid_number_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        quantities.parse_number(text)


@given(st.decimals(-1000, 1000, places=2), st.decimals(-1000, 1000, places=1))
def test_number_comparators_agree_with_each_other(value: Decimal, searched: Decimal) -> None:
    parsed = quantities.parse_number(str(searched))
    holds = {each: quantities.compare_numbers(each, Span(value, value), parsed) for each in Comparator}
    assert holds[C.NE] is not holds[C.EQ]
    assert holds[C.GT] is (value > searched)
    assert holds[C.GE] is (value >= searched)
    assert holds[C.LT] is not holds[C.GE]
    assert holds[C.LE] is not holds[C.GT]


def quantity(value: str, code: str, **more: str) -> dict[str, object]:
    return {"value": Decimal(value), "system": UCUM, "code": code, **more}


@pytest.mark.parametrize(
    ("comparator", "element", "searched_text", "holds"),
    [
        (C.GE, quantity("37", "Cel"), f"98.6|{UCUM}|[degF]", True),
        (C.GT, quantity("37", "Cel"), f"98.6|{UCUM}|[degF]", False),
        (C.LE, quantity("98.6", "[degF]"), f"37|{UCUM}|Cel", True),
        (C.EQ, quantity("32", "[degF]"), "0||Cel", True),
        (C.EQ, quantity("5", "g"), f"5000|{UCUM}|mg", True),
        (C.EQ, quantity("5", "ug"), "0.000000005||kg", True),
        (C.EQ, quantity("72", "{beats}/min"), "72||/min", True),
        (C.GT, quantity("16", "kPa"), f"119|{UCUM}|mm[Hg]", True),
        (C.GT, quantity("130", "mm[Hg]"), "120", True),
        (C.GT, quantity("130", "mm[Hg]"), f"120|{UCUM}|mg", False),
        (C.EQ, quantity("3", "{score}"), "3||{score}", True),
        (C.EQ, quantity("3", "{score}"), "3||nonsense", False),
        (C.NE, quantity("3", "mg"), "4||mL", False),
        (C.EQ, {"value": 3, "unit": "puffs"}, "3||puffs", True),
        (C.EQ, {"value": 3, "unit": "puffs"}, "3||mg", False),
        (C.EQ, quantity("3", "mg"), "3|http://other|mg", False),
        (C.LT, quantity("5", "mg", comparator="<"), "5||mg", True),
        (C.GE, quantity("5", "mg", comparator="<"), "5||mg", False),
        (C.EQ, {"value": 3, "currency": "EUR"}, "3|urn:iso:std:iso:4217|EUR", True),
        (C.GT, {"low": quantity("1", "mg"), "high": quantity("9", "mg")}, "8||mg", True),
        (C.EQ, {"unit": "mg"}, "8||mg", False),
        (C.GT, {"origin": {"value": 1}, "data": "1 2"}, "0", False),
    ],
)
def test_quantities_compare_in_one_unit_or_not_at_all(
    *, comparator: Comparator, element: dict[str, object], searched_text: str, holds: bool
) -> None:
    assert quantities.compare_quantity(comparator, element, quantities.parse_quantity(searched_text)) is holds


points = st.decimals(-1000, 1000, places=3)


@given(points, points, st.sampled_from(["mg", "g", "ug", "kg"]), st.sampled_from(["mg", "g", "ug", "kg"]))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_comparable_quantities_are_equal_or_not_and_ordered_one_way(
    value: Decimal, searched: Decimal, unit: str, wanted_unit: str
) -> None:
    element = quantity(str(value), unit)
    parsed = quantities.parse_quantity(f"{searched}|{UCUM}|{wanted_unit}")
    holds = {each: quantities.compare_quantity(each, element, parsed) for each in Comparator}
    assert holds[C.EQ] is not holds[C.NE]
    assert holds[C.GT] is not holds[C.LE]
    assert holds[C.LT] is not holds[C.GE]
    assert holds[C.AP] or value != searched or unit != wanted_unit


@given(points, st.decimals(0, 1000, places=3), points)
@settings(deadline=None)  # the first conversion builds the registry of units
def test_a_range_is_equal_or_not_and_reaches_where_its_ends_do(
    low: Decimal, width: Decimal, searched: Decimal
) -> None:
    element = {"low": quantity(str(low), "mg"), "high": quantity(str(low + width), "mg")}
    parsed = quantities.parse_quantity(f"{searched}||mg")
    holds = {each: quantities.compare_quantity(each, element, parsed) for each in Comparator}
    assert holds[C.EQ] is not holds[C.NE]
    assert holds[C.GT] is (low + width > searched)
    assert holds[C.LT] is (low < searched)
    assert holds[C.SA] is (low > searched)
    assert holds[C.EB] is (low + width < searched)


@given(points, st.sampled_from(list(Comparator)))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_what_is_not_comparable_matches_no_comparator(value: Decimal, comparator: Comparator) -> None:
    parsed = quantities.parse_quantity(f"{value}|{UCUM}|mL")
    assert not quantities.compare_quantity(comparator, quantity(str(value), "mg"), parsed)
