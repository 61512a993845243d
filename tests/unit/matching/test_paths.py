"""Plain paths select what the extractor selects, on any resource."""

from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.matching.extract import compile_extractor
from broker.matching.paths import compile_values
from broker.model.release import Release

EXPRESSIONS = (
    "Observation.code",
    "Observation.code.coding",
    "Observation.value",
    "Observation.subject",
    "Observation.subject.where(resolve() is Patient)",
    "Observation.performer.where(resolve() is Device)",
    "Observation.component.code",
    "Resource.meta.tag",
    "Patient.name",
    "Observation.value.ofType(Quantity)",
)
texts = st.sampled_from(
    ("Patient/1", "Device/2", "http://x/Patient/1/_history/2", "#c", "#d", "urn:uuid:1", "")
)
leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(0, 3) | texts
names = st.sampled_from(
    (
        "code",
        "codeReason",
        "coding",
        "value",
        "valueQuantity",
        "valueString",
        "subject",
        "performer",
        "component",
        "reference",
        "type",
        "meta",
        "tag",
        "id",
    )
)
elements = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
contained = st.just([{"id": "c", "resourceType": "Patient"}, {"id": "d", "resourceType": "Device"}])


@given(
    st.dictionaries(names, elements, max_size=6),
    st.sampled_from(("Observation", "Patient")),
    contained,
    st.sampled_from(EXPRESSIONS),
)
def test_a_plain_path_finds_what_the_extractor_finds(
    state: dict[str, Any], kind: str, inside: list[Any], expression: str
) -> None:
    resource = state | {"resourceType": kind, "contained": inside}
    try:
        expected = [node.value for node in compile_extractor(expression, Release.R4)(resource)]
    except (AttributeError, TypeError) as error:
        with pytest.raises(type(error)):
            compile_values(expression, Release.R4)(resource)
        return
    assert compile_values(expression, Release.R4)(resource) == expected


def test_most_search_parameters_are_plain_paths() -> None:
    from broker.matching import paths  # noqa: PLC0415 the pattern is no public name

    rows = (files("broker.fhir") / "search_parameters.tsv").read_text(encoding="utf-8").splitlines()[1:]
    expressions = [row.split("\t")[4] for row in rows]
    plain = [expression for expression in expressions if paths._PLAIN.fullmatch(expression)]
    assert len(plain) > 0.6 * len(expressions)
