"""Only the recently used values are kept."""

from broker.recently_used import RecentlyUsed


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_value_that_was_used_longest_ago_leaves_when_there_are_too_many() -> None:
    values = RecentlyUsed[str, int](2, 60.0, Clock())
    values.put("a", 1)
    values.put("b", 2)
    assert values.get("a") == 1
    values.put("c", 3)
    assert [values.get(key) for key in "abc"] == [1, None, 3]
    assert len(values) == 2


def test_a_value_that_is_not_used_for_long_leaves_with_the_next_call() -> None:
    clock = Clock()
    values = RecentlyUsed[str, int](10, 60.0, clock)
    values.put("a", 1)
    values.put("b", 2)
    clock.now_s = 50.0
    assert values.get("b") == 2
    clock.now_s = 70.0
    assert values.get("x") is None
    assert len(values) == 1
    assert values.get("b") == 2


def test_a_new_value_replaces_the_one_of_its_key() -> None:
    values = RecentlyUsed[str, int](2, 60.0, Clock())
    values.put("a", 1)
    values.put("b", 2)
    values.put("a", 3)
    values.put("c", 4)
    assert [values.get(key) for key in "abc"] == [3, None, 4]
