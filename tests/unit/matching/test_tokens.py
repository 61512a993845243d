"""What a token is."""

import pytest

from broker.matching import tokens
from broker.matching.values import BadValue


@pytest.mark.parametrize(
    ("text", "system", "code"), [("a", None, "a"), ("s|a", "s", "a"), ("|a", "", "a"), ("s|", "s", None)]
)
def test_a_token_is_a_code_with_an_optional_system(text: str, system: str | None, code: str | None) -> None:
    assert tokens.parse_token(text) == (system, code)


@pytest.mark.parametrize("text", ["|", "", "a|b|c", "a ", " a", "s|a ", "s| a", "s |a", " s|", "\ta"])
def test_an_invalid_token_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        tokens.parse_token(text)
