"""Expressions: exact numbers, own functions, paths that are as the interpreter has them, hostile payloads."""

from decimal import Decimal
from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mapping.expressions import BadExpression, Expression, ExpressionFailed
from broker.mapping.functions import Scope


def evaluate(text: str, payload: Any, *, is_jsonpath: bool = False) -> Any:
    return Expression(text, is_jsonpath=is_jsonpath).evaluate(Scope((payload,), 0))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("v == `0.1`", True),
        ("v < `0.2`", True),
        ("list[?@ > `0.15`] | [0]", Decimal("0.2")),
        ("sum(list)", Decimal("0.3")),
        ("avg(list)", Decimal("0.15")),
        ("max(list)", Decimal("0.2")),
        ("abs(v)", Decimal("0.1")),
        ("ceil(v)", 1),
        ("sort_by(rows, &n)[0].n", Decimal("1.5")),
        ("type(v)", "number"),
        ("to_number('2.50')", Decimal("2.50")),
        ("to_number('72')", 72),
        ("to_number('x')", None),
        ("to_string(v)", '"0.1"'),
        ("add(v, v)", Decimal("0.2")),
        ("subtract(v, `1`)", Decimal("-0.9")),
        ("multiply(v, `3`)", Decimal("0.3")),
        ("divide(`1`, `8`)", Decimal("0.125")),
        ("pow(`2`, `10`)", Decimal(1024)),
        ("mdc(code)", 188736),
        ("mdc('57664')", 188736),
        ("split('/', text)[1]", "Cel"),
        ("upper(trim(' a '))", "A"),
        ("lower('A')", "a"),
        ("insertString('20260302', '-', `4`)", "2026-0302"),
        ("fromUnixTimestamp(`1772438400`)", "2026-03-02T08:00:00+00:00"),
        ("payload().v", Decimal("0.1")),
        ("position()", 0),
    ],
)
def test_functions_compute_exactly(text: str, result: Any) -> None:
    payload = {
        "v": Decimal("0.1"), "list": [Decimal("0.1"), Decimal("0.2")], "code": 57664, "text": "temp/Cel",
        "rows": [{"n": Decimal("2.5")}, {"n": Decimal("1.5")}],
    }  # fmt: skip
    assert evaluate(text, payload) == result


@pytest.mark.parametrize(
    "text",
    [
        "abs(text)", "divide(`1`, `0`)", "pow(`10`, `1000000000`)", "sum(rows)",
        "insertString('a', 'b', `5`)",
        "fromUnixTimestamp(`1e30`)", "join('', rows)", "lower(v)", "sort_by(rows, &missing)",
    ],
)  # fmt: skip
def test_what_cannot_be_computed_fails_without_the_value(text: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        evaluate(text, {"text": "secret", "rows": [{"n": "secret"}], "v": 5})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a.", "a[", "unheard(a)", "[" * 5_000, "a" * 2_001])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(BadExpression):
        Expression(text)


@pytest.mark.parametrize(
    "text",
    ["$..[?(", "$.a[?@.b =~ /(?!x)/]", "$.a[?@.b =~ /x/a]", "$[?match(@.a, 'x')]", "$[?search(@.a, 'x')]"],
)
def test_what_is_no_jsonpath_or_would_backtrack_is_refused(text: str) -> None:
    with pytest.raises(BadExpression):
        Expression(text, is_jsonpath=True)


def test_a_pattern_of_jsonpath_runs_in_linear_time() -> None:
    assert evaluate("$.a[?@.b =~ /(a+)+$/]", {"a": [{"b": "a" * 50_000 + "!"}]}, is_jsonpath=True) is None


def test_numbers_of_jsonpath_are_decimals() -> None:
    payload = {"a": [{"b": Decimal("98.6")}, {"b": 98}]}
    assert evaluate("$.a[?@.b == 98.6]", payload, is_jsonpath=True) == {"b": Decimal("98.6")}
    assert evaluate("$.a[?@.b < 98.5]", payload, is_jsonpath=True) == {"b": 98}


def test_jsonpath_that_filters_all_descendants_includes_the_payload_itself() -> None:
    payload = {"hr": 1, "inner": {"hr": 2}}
    assert evaluate("$..[?(@hr)]", payload, is_jsonpath=True) == [payload, {"hr": 2}]


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@given(payload=_VALUES, text=st.sampled_from(["a", "a.b", "a.b.c", "a == 'x'", "a.b == ''", "payload().a.b"]))
def test_the_fast_paths_give_what_the_interpreter_gives(payload: Any, text: str) -> None:
    plain = text.removeprefix("payload().")
    assert evaluate(text, payload) == jmespath.search(plain, payload)


def test_a_payload_that_is_nested_too_deeply_for_an_expression_fails() -> None:
    payload: Any = 1
    for _ in range(100_000):
        payload = [payload]
    with pytest.raises(ExpressionFailed):
        evaluate("to_string(@)", payload)


@pytest.mark.parametrize(
    "payload",
    [{}, {"a": None}, {"a": "x"}, {"a": "x", "b": {"c": "y"}}, {"a": 0, "null": 0}, {"null": "x"}, [], "x"],
)
@pytest.mark.parametrize(
    "text",
    [
        "a != null && b.c != 'y'",
        "a != null && b.c == 'y'",
        "a == null",
        "a=='x'&&b.c=='y' && a != null",
        "a == 'x && y' && a != null",
        "a != 'x' || b.c == 'y'",
    ],
)
def test_conditions_give_what_the_interpreter_gives(payload: Any, text: str) -> None:
    assert evaluate(text, payload) == jmespath.search(text, payload)
