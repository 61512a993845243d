"""Units are converted where they share a scale, and nowhere else."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.matching import quantities, units
from broker.matching.units import UCUM
from broker.model.search import Comparator


@given(st.decimals(-200, 2000, places=1))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_converting_there_and_back_gives_the_same_number(value: Decimal) -> None:
    there, back = units.conversion("Cel", "[degF]"), units.conversion("[degF]", "Cel")
    assert there is not None
    assert back is not None
    assert abs(back(there(value)) - value) < Decimal("0.0000001")


SCALED = [
    "mg",
    "kg",
    "mmol/L",
    "mol/m3",
    "Cel",
    "[degF]",
    "K",
    "mm[Hg]",
    "kPa",
    "/min",
    "Hz",
    "10*9/L",
    "%",
    "[ppm]",
]
ODD = [
    *(
        "[iU]",
        "k[iU]",
        "[iU]/L",
        "m[iU]/mL",
        "[IU]",
        "[arb'U]",
        "[USP'U]",
        "[CFU]",
        "[CFU]/mL",
        "[PFU]",
        "[TCID_50]",
    ),
    *(
        "[pH]",
        "B",
        "dB",
        "B[SPL]",
        "dB[SPL]",
        "B[10.nV]",
        "Np",
        "bit_s",
        "[hp_X]",
        "[EU]",
        "[Amb'a'1'U]",
        "%[slope]",
    ),
    *("dB{loud}", "{count}[CFU]", "dB/m", "[todd'U]", "[APL'U]", "[PNU]", "[IR]", "[p'diop]"),
]


@given(st.sampled_from(ODD), st.sampled_from([*ODD, *SCALED, "1", "By", "Bq", "bit"]))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_logarithmic_and_arbitrary_units_are_never_converted(odd: str, other: str) -> None:
    assert not units.is_convertible(odd)
    assert units.conversion(odd, other) is None
    assert units.conversion(other, odd) is None


@given(st.sampled_from(ODD), st.integers(-50, 50))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_such_units_equal_only_the_same_code(odd: str, number: int) -> None:
    element = {"value": number, "system": UCUM, "code": odd}
    for other in ODD:
        searched = quantities.parse_quantity(f"{number}|{UCUM}|{other}")
        assert quantities.compare_quantity(Comparator.EQ, element, searched) is (odd == other)


@pytest.mark.parametrize(
    "code", [*SCALED, "By", "Bq", "Bi", "Pa", "NL", "bit", "{beats}/min", "mm[Hg]", "[car_Au]"]
)
def test_names_that_only_look_alike_are_converted(code: str) -> None:
    assert units.is_convertible(code)


@given(st.sampled_from(SCALED), st.sampled_from(SCALED), st.decimals(1, 1000, places=3))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_conversion_is_undone_by_its_opposite_and_keeps_order(
    unit: str, target_unit: str, value: Decimal
) -> None:
    there, back = units.conversion(unit, target_unit), units.conversion(target_unit, unit)
    assert (there is None) is (back is None)
    if there is None or back is None:
        return
    assert abs(back(there(value)) - value) <= abs(value) / 10**6
    assert there(value) < there(value + 1)


@given(st.text(max_size=100), st.text(max_size=100))
@settings(deadline=None)  # the first conversion builds the registry of units
def test_no_unit_text_makes_the_conversion_fail(source: str, target: str) -> None:
    units.conversion(source, target)
