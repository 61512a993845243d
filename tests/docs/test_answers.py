"""The comparison of shown answers with real ones finds differences."""

import pytest

from tests.docs.answers import difference

RIGHT = [
    ("text", "201\n200", "201\n200\n"),
    ("text", "…-…", "1700000000000-0"),
    ("json", '{"id": "…", "n": 1}', '{"n": 1, "id": "abc"}'),
    ("json", '{"id": "a", "…": "…"}', '{"id": "a", "more": [1]}'),
    ("json", '[{"a": 1}, "…"]', '[{"a": 1}, {"b": 2}]'),
    ("http", 'HTTP/1.1 200 OK\nETag: W/"…"', 'HTTP/1.1 200 OK\r\netag: W/"3"\r\nx: y\r\n\r\n{}'),
    ("http", 'HTTP/1.1 200 OK\n\n{"a": 1}', 'HTTP/1.1 200 OK\r\nx: y\r\n\r\n{"a": 1}'),
]
WRONG = [
    ("text", "201\n201", "201\n200\n"),
    ("json", '{"id": "a"}', '{"id": "a", "more": 1}'),
    ("json", '{"id": "a", "…": "…"}', '{"more": 1}'),
    ("json", '{"n": 1}', '{"n": 2}'),
    ("json", '{"n": {"m": "x…"}}', '{"n": {"m": "yx"}}'),
    ("json", '[1, "…"]', "[]"),
    ("json", "[1]", "[1, 2]"),
    ("json", "[1]", "no JSON"),
    ("http", "HTTP/1.1 200 OK", "HTTP/1.1 201 Created\r\n\r\n"),
    ("http", 'HTTP/1.1 200 OK\nETag: W/"1"', 'HTTP/1.1 200 OK\r\netag: W/"2"\r\n\r\n'),
    ("http", 'HTTP/1.1 200 OK\n\n{"a": 1}', 'HTTP/1.1 200 OK\r\n\r\n{"a": 2}'),
]


@pytest.mark.parametrize(("language", "shown", "real"), RIGHT)
def test_an_answer_as_shown_is_right(language: str, shown: str, real: str) -> None:
    assert difference(language, shown, real) is None


@pytest.mark.parametrize(("language", "shown", "real"), WRONG)
def test_another_answer_is_reported(language: str, shown: str, real: str) -> None:
    assert difference(language, shown, real) is not None
