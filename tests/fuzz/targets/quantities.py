"""Numbers, quantities and units: a search value, then value, unit code and comparator of a resource."""

from decimal import Decimal, InvalidOperation

from broker.matching.quantities import compare_quantity, parse_number, parse_quantity
from broker.matching.units import UCUM
from broker.matching.values import BadValue, split_prefix
from broker.model.search import Comparator
from tests.fuzz.target import Target, lines_of


def check(data: bytes) -> None:
    value, number, code, sign = lines_of(data, 4)
    _, text = split_prefix(value)
    try:
        parsed = parse_number(text)
        assert parsed.low < parsed.exact < parsed.high, text
    except BadValue:
        pass
    try:
        searched = parse_quantity(text)
    except BadValue:
        return
    try:
        exact = Decimal(number[:80])
    except InvalidOperation:
        return
    if not exact.is_finite() or exact.adjusted() > 308:
        return  # no resource holds such a number
    quantity = {"value": exact, "system": UCUM, "code": code, "unit": code, "comparator": sign}
    for element in (quantity, {"low": quantity}, {"high": quantity}, {"value": exact, "currency": code}):
        for comparator in Comparator:
            try:
                compare_quantity(comparator, element, searched)
            except (BadValue, ArithmeticError):
                continue


TARGET = Target(
    check,
    [
        "100\n100\nmg\n",
        "gt5.40|http://unitsofmeasure.org|mg\n0.0054\ng\n<",
        "37||Cel\n98.6\n[degF]\n>=",
        "1e-100\n1E+308\n10*3/uL\n",
        "-0\n-0\n%\n",
        "1e400\n1\nm\n",
        "5||mmol/L\n100\nmg/dL\n",
        "1||m\n1\n" + "m." * 39 + "m\n",
        "1||m\n1\nm9999999\n",
        "1||10*99\n1\n10*-99\n",
        "1||[pH]\n7\n[pH]\n",
        "1||{steps}\n1\n{a}.{b}\n",
        "1||Ym8\n1\nfm-8\n",
        "1||((((m))))\n1\n((((m\n",
        "1|a|b|c\n1\n1\n",
        "\u0661\n1\nm\n",
    ],
    """
    | || e308 e-99 mg [degF] Cel 10* 10^ / . ( ) { } mm[Hg] da -1
    """,
    max_bytes=300,
)
