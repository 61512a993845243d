"""Which numbers of a range are reported as missing."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.services.event_numbers import _holes, runs


@given(st.sets(st.integers(1, 60)))
def test_runs_contain_exactly_the_numbers(numbers: set[int]) -> None:
    ranges = runs(sorted(numbers))
    assert {n for low, high in ranges for n in range(low, high + 1)} == numbers
    assert all(low > high + 1 for (_, high), (low, _) in pairwise(ranges))


@given(st.integers(1, 20), st.integers(0, 40), st.sets(st.integers(1, 40)))
def test_holes_are_the_numbers_that_nothing_covers(first: int, last: int, covered: set[int]) -> None:
    ranges = [(n, n) for n in sorted(covered) if first <= n <= last]
    holes = {n for low, high in _holes(first, last, ranges) for n in range(low, high + 1)}
    assert holes == set(range(first, last + 1)) - covered
