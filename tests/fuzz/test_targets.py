"""Every fuzz target keeps its law on its seeds, and so on everything that fuzzing has found."""

import time

import pytest

from tests.fuzz.target import LIMIT_S, Target, TooSlow, load, names


def test_there_is_a_target_for_each_kind_of_text_from_outside() -> None:
    assert {"urls", "filter_strings", "dates", "tokens", "quantities", "fhirpath"} <= set(names())
    assert {"headers", "documents", "bundles", "subscriptions"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_target_keeps_its_law_on_its_seeds(name: str) -> None:
    target = load(name)
    for data in target.inputs():
        target.check(data)  # imports and caches are no part of the time of an input
        target.examine(data)


def test_an_input_that_takes_too_long_is_a_finding() -> None:
    def spin(_: bytes) -> None:
        end = time.thread_time() + 1.1 * LIMIT_S
        while time.thread_time() < end:
            pass

    with pytest.raises(TooSlow):
        Target(spin, []).examine(b"")
