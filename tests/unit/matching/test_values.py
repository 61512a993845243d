"""Search values are split and unescaped as they were written."""

from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.filter_strings import parse_filter_string, render_filter_string
from broker.matching import values
from broker.model.search import Filter


@given(st.lists(st.text(), min_size=1))
def test_values_joined_with_escapes_come_back(parts: list[str]) -> None:
    escaped = [part.replace("\\", "\\\\").replace(",", "\\,") for part in parts]
    assert [values.unescape(part) for part in values.split(",".join(escaped), ",")] == parts


@given(st.text())
def test_folding_is_idempotent(text: str) -> None:
    assert values.fold(values.fold(text)) == values.fold(text)


@given(st.lists(st.text(), min_size=1), st.sampled_from([",", "|", "$"]))
def test_escaped_values_are_split_where_they_were_joined(parts: list[str], separator: str) -> None:
    joined = separator.join(values.escape(part) for part in parts)
    assert [values.unescape(part) for part in values.split(joined, separator)] == parts


names = st.from_regex(r"[a-z_][a-z-]{0,10}(\.[a-z]{1,8})?", fullmatch=True)
filters = st.builds(
    Filter,
    parameter=names,
    value=st.text(min_size=1).map(values.escape),
    modifier=st.none() | st.sampled_from(["missing", "exact", "not-in", "Patient", "Patient.name"]),
    resource_type=st.none() | st.sampled_from(["Patient", "Observation"]),
)


@given(filters)
def test_a_filter_that_is_written_is_read_as_the_same(filter_: Filter) -> None:
    assert parse_filter_string(render_filter_string(filter_)) == [filter_]
