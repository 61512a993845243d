"""What a soak calls left over."""

from tests.soak.holdings import Holdings

AT_REST = {"broker: task A.run": 40, "broker: descriptors of socket": 20, "store: connections": 9}


def test_a_loop_that_had_no_timer_before_is_no_left_over_and_a_timer_of_each_operation_is_one() -> None:
    before = Holdings(AT_REST | {"broker: timers": 27})
    assert Holdings(AT_REST | {"broker: timers": 29}).beyond(before) == {}
    assert Holdings(AT_REST | {"broker: timers": 90}).beyond(before) == {"broker: timers": 63}


def test_any_other_growth_is_left_over() -> None:
    before = Holdings(AT_REST)
    after = Holdings(AT_REST | {"broker: task B.run": 1, "store: connections": 10})
    assert after.beyond(before) == {"broker: task B.run": 1, "store: connections": 1}
