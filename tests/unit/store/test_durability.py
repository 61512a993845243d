"""What a durable write waits for, and which replies are good enough."""

import pytest
from redis.exceptions import ResponseError

from broker.errors import StoreUnavailable
from broker.store.durability import WAIT_MS, DurabilityWait


def test_a_server_that_syncs_before_its_reply_is_sent_no_further_command() -> None:
    wait = DurabilityWait()
    assert wait.commands == []
    wait.check([])


def test_the_disk_and_the_replicas_are_waited_for_in_this_order() -> None:
    assert DurabilityWait(fsync=True, replicas=2).commands == [
        ("WAITAOF", 1, 0, WAIT_MS),
        ("WAIT", 2, WAIT_MS),
    ]


@pytest.mark.parametrize(
    ("wait", "replies"),
    [
        (DurabilityWait(fsync=True), [[1, 0]]),
        (DurabilityWait(replicas=1), [1]),
        (DurabilityWait(replicas=1), [2]),
        (DurabilityWait(fsync=True, replicas=1), [[1, 1], 1]),
    ],
)
def test_enough_copies_are_accepted(wait: DurabilityWait, replies: list[object]) -> None:
    wait.check(replies)


@pytest.mark.parametrize(
    ("wait", "replies", "message"),
    [
        (DurabilityWait(fsync=True), [[0, 0]], "did not write to disk within 5 s"),
        (DurabilityWait(replicas=2), [1], "1 of 2 replicas had it after 5 s"),
        (DurabilityWait(fsync=True, replicas=1), [[1, 0], 0], "0 of 1 replicas"),
    ],
)
def test_too_few_copies_are_an_error(wait: DurabilityWait, replies: list[object], message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message):
        wait.check(replies)


def test_an_error_of_the_server_is_raised() -> None:
    with pytest.raises(ResponseError, match="unknown command"):
        DurabilityWait(fsync=True).check([ResponseError("unknown command 'WAITAOF'")])
