"""Units: exact factors, digits that the source justifies, aliases, and no guesses."""

import importlib.machinery
import importlib.util
from decimal import Decimal
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.codes import widen_mdc
from broker.mapping.reading_types import GLUCOSE_MOLAR_MASS, READING_TYPES
from broker.mapping.ucum_atoms import may_be_ucum
from broker.mapping.units import ALIASES, Conversion, candidates, conversion, conversion_of
from tests.spawning import ROOT

PAIRS = [
    ("[lb_av]", "kg"), ("[degF]", "Cel"), ("[in_i]", "cm"), ("kPa", "mm[Hg]"), ("mmol/L", "mg/dL"),
    ("h", "min"), ("1", "%"), ("[stone_av]", "kg"), ("K", "Cel"), ("uV", "mV"),
]  # fmt: skip


def found(source: str, target: str) -> Conversion:
    result = conversion(source, target, GLUCOSE_MOLAR_MASS)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        ("150", "[lb_av]", "kg", "68.0"),
        ("180.5", "[lb_av]", "kg", "81.87"),
        ("98.6", "[degF]", "Cel", "37.00"),
        ("98.60", "[degF]", "Cel", "37.000"),
        ("5.6", "mmol/L", "mg/dL", "101"),
        ("100", "mg/dL", "mmol/L", "5.55"),
        ("16.0", "kPa", "mm[Hg]", "120.0"),
        ("0.975", "1", "%", "97.5"),
        ("12.6", "[stone_av]", "kg", "80.0"),
        ("310.15", "K", "Cel", "37.00"),
        ("7", "h", "min", "420"),
        ("72", "/min", "/min", "72"),
        ("72.50", "kg", "kg", "72.50"),
    ],
)
def test_a_value_is_converted_with_the_digits_of_its_source(
    value: str, source: str, target: str, result: str
) -> None:
    assert str(found(source, target).apply(Decimal(value))) == result


@given(
    pair=st.sampled_from(PAIRS),
    value=st.decimals("-1000", "100000", places=2, allow_nan=False, allow_infinity=False),
)
def test_a_converted_value_converts_back_to_its_source(pair: tuple[str, str], value: Decimal) -> None:
    source, target = pair
    there = found(source, target).apply(value)
    back = found(target, source)
    exact = there * back.factor + back.offset
    assert abs(exact - value) <= Decimal("0.005") + Decimal("1e-15")  # half of the last digit


@given(
    pair=st.sampled_from(PAIRS), values=st.lists(st.decimals("0", "100000", places=1), min_size=2, max_size=2)
)
def test_conversion_keeps_the_order_of_values(pair: tuple[str, str], values: list[Decimal]) -> None:
    smaller, larger = sorted(values)
    convert = found(*pair)
    assert convert.apply(smaller) <= convert.apply(larger)


def conversions_script() -> ModuleType:
    path = ROOT / "scripts" / "conversions"
    loader = importlib.machinery.SourceFileLoader("conversions", str(path))
    spec = importlib.util.spec_from_loader("conversions", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_table_is_what_ucumvert_computes() -> None:
    module = conversions_script()
    assert (ROOT / "broker" / "mapping" / "conversions.tsv").read_text() == module.table(), (
        "run scripts/conversions"
    )


def test_the_atoms_are_those_of_ucumvert() -> None:
    written = (ROOT / "broker" / "mapping" / "ucum_atoms.txt").read_text()
    assert written == conversions_script().atoms(), "run scripts/conversions"


@pytest.mark.parametrize(
    "code",
    ["mm[Hg]", "10*3/uL", "mL/(24.h)", "[iU]/L", "kg/m2", "m.s-2", "{beats}/min", "%", "10*-6", "dam",
     "[in_i]", "1", "mmol/mol{crea}", "ug/kg/h", "[pt_br]", "Cel", "kcal/d", "/min"],
)  # fmt: skip
def test_a_unit_of_ucum_is_recognised_without_the_library(code: str) -> None:
    assert may_be_ucum(code)


@pytest.mark.parametrize("text", ["catty", "bpm", "mmHg", "lbs", "furlong", "k%", "١", "kg lb", "°C"])
def test_a_text_that_is_no_unit_is_recognised_without_the_library(text: str) -> None:
    assert not may_be_ucum(text)


def test_a_unit_that_is_not_in_the_table_is_computed() -> None:
    assert found("[pt_br]", "mL") == Conversion(Decimal("568.26125"), Decimal(0))


@pytest.mark.parametrize(
    "unit", ["furlong", "", "kg lb", "°", "x" * 100, "[pH]", "B[SPL]", "mg/dL; DROP", "\u0661"]
)
def test_a_unit_that_is_none_does_not_convert(unit: str) -> None:
    assert conversion(unit, "kg") is None


@pytest.mark.parametrize(("source", "target"), [("kg", "cm"), ("mmol/L", "mg/dL"), ("/min", "kg")])
def test_units_of_different_things_do_not_convert(source: str, target: str) -> None:
    assert conversion(source, target) is None


@pytest.mark.parametrize(
    ("written", "target", "value"),
    [
        ("lbs", "kg", "68.0"),
        ("LB", "kg", "68.0"),
        ("F", "Cel", "65.6"),
        ("C", "Cel", "150"),
        ("bpm", "/min", "150"),
    ],
)
def test_what_devices_write_is_understood_by_the_table_of_aliases(
    written: str, target: str, value: str
) -> None:
    result = conversion_of(written, target, {}, None)
    assert result is not None
    assert str(result.apply(Decimal(150))) == value


def test_an_alias_of_the_mapping_goes_before_all_others() -> None:
    result = conversion_of("C", "Cel", {"C": "[degF]"}, None)
    assert result == conversion("[degF]", "Cel")


def test_an_alias_is_never_another_ucum_unit_of_the_same_letters() -> None:
    """`ft` is a femtotonne in UCUM, and no device means that."""
    assert conversion_of("ft", "kg", {}, None) is None


def test_the_candidates_are_units_that_convert() -> None:
    units = candidates("kg", {}, None)
    assert units[0] == "kg"
    assert {"[lb_av]", "g"} <= set(units)
    assert "cm" not in units
    assert "mmol/L" in candidates("mg/dL", {}, GLUCOSE_MOLAR_MASS)


def test_every_alias_is_in_small_letters_and_means_a_unit_of_the_table() -> None:
    for alias, unit in ALIASES.items():
        assert alias == alias.lower()
        assert conversion(unit, unit) is not None


@pytest.mark.parametrize("name", READING_TYPES)
def test_the_units_of_a_type_convert_into_each_other(name: str) -> None:
    kind = READING_TYPES[name]
    for unit in kind.units:
        assert conversion(unit.code, kind.units[0].code, kind.molar_mass) is not None


@given(st.integers(0, 2**32 - 1))
def test_widening_a_code_twice_changes_nothing_more(code: int) -> None:
    assert widen_mdc(widen_mdc(code)) == widen_mdc(code) >= code


@pytest.mark.parametrize(
    ("code", "partition", "wide"),
    [(57664, 2, 188736), (29140, 2, 160212), (57680, 2, 188752), (4103, 8, 528391), (188736, 2, 188736)],
)
def test_a_code_of_16_bits_is_widened_by_its_partition(code: int, partition: int, wide: int) -> None:
    assert widen_mdc(code, partition) == wide


def test_the_page_about_mappings_has_every_alias() -> None:
    page = (ROOT / "docs" / "mappings.md").read_text()
    for alias, unit in ALIASES.items():
        assert alias == unit or any(
            line.startswith(f"| `{unit}` |") and f"`{alias}`" in line for line in page.splitlines()
        ), alias
