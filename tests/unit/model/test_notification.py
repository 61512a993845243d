"""Which events may share a Bundle with resources."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import Event, Included, single_versions
from broker.model.release import Release

keys = st.builds(
    VersionKey,
    st.just(DEFAULT_TENANT),
    st.sampled_from(["Observation", "Patient"]),
    st.sampled_from(["1", "2"]),
    st.integers(1, 3),
)
contexts = st.lists(st.builds(Included, keys, st.just(Release.R4)), max_size=2).map(tuple)
events = st.lists(
    st.builds(
        Event, st.just(1), st.just(0), keys, st.just(Release.R4), st.just(Interaction.UPDATE), contexts
    ),
    min_size=1,
    max_size=6,
)


def versions_of(event: Event) -> dict[str, int]:
    """The versions that the Bundle of this event alone contains."""
    versions = {included.key.reference: included.key.version for included in reversed(event.context)}
    return versions | {event.focus.reference: event.focus.version}


def agree(batch: list[Event]) -> bool:
    versions: dict[str, set[int]] = {}
    for event in batch:
        for reference, version in versions_of(event).items():
            versions.setdefault(reference, set()).add(version)
    return all(len(numbers) == 1 for numbers in versions.values())


@given(events)
def test_a_batch_is_the_longest_beginning_with_one_version_of_each_resource(batch: list[Event]) -> None:
    length = len(single_versions(batch))
    assert length >= 1
    assert single_versions(batch) == batch[:length]
    assert agree(batch[:length])
    assert length == len(batch) or not agree(batch[: length + 1])


@given(events)
def test_batches_together_are_all_events_in_order(batch: list[Event]) -> None:
    rest: Sequence[Event] = batch
    sent: list[Event] = []
    while rest:
        first = single_versions(rest)
        sent += first
        rest = rest[len(first) :]
    assert sent == batch
