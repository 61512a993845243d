"""There and back is the same, for instances drawn from the element lists of each release; and what comes out
is valid.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from broker.errors import Unprocessable
from broker.fhir.conversion import convert
from broker.fhir.conversion.rule_tables import CONVERTIBLE
from broker.fhir.validation import validate
from broker.model.json_text import items, join
from broker.model.json_text import members as members_of
from broker.model.release import Release
from broker.model.resource import Resource
from tests.fhir.drawn_resources import R4, R4B, R5, meaning, resources, with_extensions, written

QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
PAIRS = [(R4, R5), (R5, R4), (R4B, R5), (R5, R4B), (R4, R4B), (R4B, R4)]


def check(body: bytes, kind: str, source: Release, target: Release) -> None:
    converted = convert(Resource(body), kind, source, target)
    assert converted is not None
    validate(target, kind, converted)
    back = convert(converted, kind, target, source)
    assert back is not None
    assert meaning(back.text) == meaning(body)


@pytest.mark.parametrize("kind", sorted(CONVERTIBLE))
@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_conversion_there_and_back_gives_the_same_resource(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(resources(source, kind))
    def law(resource: dict[str, Any]) -> None:
        body = written(resource)
        validate(source, kind, Resource(body))
        check(body, kind, source, target)

    law()


PAIRS_WITH_EXTENSIONS = [
    (kind, source, target)
    for source, target in PAIRS[:4]
    for kind in sorted(CONVERTIBLE - {"Patient"})
    if (kind, source) != ("Observation", R5)  # R5 took nothing away from it
]


@pytest.mark.parametrize(("kind", "source", "target"), PAIRS_WITH_EXTENSIONS)
def test_cross_version_extensions_of_any_origin_are_converted_without_loss(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(with_extensions(source, target, kind))
    def law(resource: dict[str, Any]) -> None:
        body = written(resource)
        validate(source, kind, Resource(body))
        check(body, kind, source, target)

    law()


@pytest.mark.parametrize(("kind", "source", "target"), PAIRS_WITH_EXTENSIONS)
def test_a_converted_and_then_edited_resource_is_converted_without_loss(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(resources(target, kind), st.data())
    def law(resource: dict[str, Any], data: st.DataObject) -> None:
        converted = convert(Resource(written(resource)), kind, target, source)
        assert converted is not None
        parts = members_of(converted.text)
        extensions = items(parts.get("extension", b"[]"))
        place: int = data.draw(st.integers(-1, len(extensions) - 1))
        if place >= 0:
            del extensions[place]
            parts["extension"] = b"[" + b",".join(extensions) + b"]"
            if not extensions:
                del parts["extension"]
        elif len(parts) > 1:
            name: str = data.draw(st.sampled_from(sorted(parts.keys() - {"resourceType"})))
            del parts[name]
        body = join(parts)
        try:
            validate(source, kind, Resource(body))
        except Unprocessable:
            assume(False)
        check(body, kind, source, target)

    law()
