"""Poison messages: how often a change is tried, and when its partition is read again."""

from broker.workers.poison import MAX_ATTEMPTS, PoisonMessages, UnreadableChange


def fail(messages: PoisonMessages, change_id: str, times: int) -> None:
    for _ in range(times):
        messages.record(change_id, ValueError("bad value"))


def test_a_change_is_exhausted_after_the_last_attempt() -> None:
    messages = PoisonMessages()
    fail(messages, "1-0", MAX_ATTEMPTS - 1)
    assert not messages.is_exhausted("1-0")
    assert messages.record("1-0", ValueError("bad value")) == MAX_ATTEMPTS
    assert messages.is_exhausted("1-0")
    assert messages.reason("1-0") == "the matching failed: ValueError", "without what the error quotes"


def test_the_reason_says_what_cannot_be_read() -> None:
    messages = PoisonMessages()
    messages.record("1-0", UnreadableChange("the stored version of Observation/a can't be read"))
    assert messages.reason("1-0") == "the stored version of Observation/a can't be read"


def test_attempts_are_counted_for_each_change() -> None:
    messages = PoisonMessages()
    fail(messages, "1-0", 3)
    fail(messages, "2-0", 1)
    assert (messages.attempts("1-0"), messages.attempts("2-0"), messages.attempts("3-0")) == (3, 1, 0)


def test_a_matched_change_counts_from_zero_again() -> None:
    messages = PoisonMessages()
    fail(messages, "1-0", 3)
    messages.forget("1-0")
    assert messages.attempts("1-0") == 0


def test_the_partition_rests_longer_after_each_attempt_and_less_than_a_second_in_total() -> None:
    messages = PoisonMessages(now_s=lambda: 100.0)
    assert messages.rest_s() == 0
    rests = []
    for _ in range(MAX_ATTEMPTS - 1):
        messages.record("1-0", ValueError("bad value"))
        messages.rest()
        rests.append(messages.rest_s())
    assert rests == sorted(rests)
    assert sum(rests) < 1
