"""Whatever order, batches and repetitions readings of a window come in, they become the same Observation."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.fhir.merged_observations import MergedObservation
from broker.fhir.merged_values import MergeReading
from broker.model.resource import Resource
from tests.unit.fhir.test_merged_observations import component, quantity, samples

_TIMES = st.integers(0, 190).map(lambda tenths: tenths / 10)
_VALUES = st.integers(0, 5)
_SAMPLES = st.builds(samples, _TIMES, _VALUES.map(str) | st.just("E"))
_QUANTITIES = st.builds(quantity, _TIMES, _VALUES)
_COMPONENTS = st.builds(component, _TIMES, st.sampled_from("ab"), _VALUES)
_OF_ARRIVAL = ("status", "issued")


def merge(readings: Sequence[MergeReading], batch: int) -> Resource:
    """Each batch is merged into what is stored; all of it comes a second time."""
    stored = None
    for _ in range(2):
        for start in range(0, len(readings), batch):
            observation = MergedObservation(stored)
            changes = [observation.add(each) for each in readings[start : start + batch]]
            if any(changes):
                stored = observation.resource("a")
    assert stored is not None
    return stored


def essence(resource: Resource) -> dict[str, Any]:
    fields = {name: value for name, value in resource.copy().items() if name not in _OF_ARRIVAL}
    if "component" in fields:
        fields["component"].sort(key=lambda each: str(each["code"]))
    return fields


def without_contradictions(readings: Sequence[MergeReading]) -> list[MergeReading]:
    """One reading for each time, since another value for the same time is refused."""
    return list({(each.start, b'"b"' in each.resource.text): each for each in readings}.values())


@settings(max_examples=30)
@given(
    readings=st.one_of(
        *(st.lists(kind, min_size=3, max_size=8) for kind in (_SAMPLES, _QUANTITIES, _COMPONENTS))
    ),
    batch=st.integers(1, 5),
)
def test_order_batches_and_repetitions_make_no_difference(readings: list[MergeReading], batch: int) -> None:
    in_order = sorted(without_contradictions(readings), key=lambda each: each.start)
    at_once = essence(merge(in_order, len(in_order)))
    assert essence(merge(in_order[::-1], batch)) == at_once
    assert essence(merge(in_order[1::2] + in_order[::2], batch)) == at_once
