"""What an answer means for a message, and how long a producer waits before it repeats one."""

import email.utils
import time

import httpx
import pytest

from broker.client import RetryPolicy, Verdict
from broker.client.answer import MAX_RETRY_AFTER_S, answer_of
from broker.errors import ConfigurationError


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (201, Verdict.ACCEPTED),
        (204, Verdict.ACCEPTED),
        (307, Verdict.UNAVAILABLE),
        (400, Verdict.REFUSED),
        (401, Verdict.DENIED),
        (403, Verdict.DENIED),
        (408, Verdict.UNAVAILABLE),
        (409, Verdict.REFUSED),
        (412, Verdict.REFUSED),
        (413, Verdict.REFUSED),
        (422, Verdict.REFUSED),
        (425, Verdict.UNAVAILABLE),
        (429, Verdict.UNAVAILABLE),
        (500, Verdict.FAILED),
        (502, Verdict.UNAVAILABLE),
        (503, Verdict.UNAVAILABLE),
        (507, Verdict.UNAVAILABLE),
    ],
)
def test_the_verdict_of_a_status(status: int, verdict: Verdict) -> None:
    assert answer_of(httpx.Response(status)).verdict is verdict


def test_no_answer_and_no_token_are_no_refusals() -> None:
    assert answer_of(httpx.ConnectError("refused")).verdict is Verdict.UNAVAILABLE
    assert answer_of(ConfigurationError("no token")).verdict is Verdict.DENIED
    with pytest.raises(KeyError):
        answer_of(KeyError("a fault of the program"))


def test_the_reason_is_that_of_the_operation_outcome_or_the_beginning_of_the_body() -> None:
    outcome = {"issue": [{"diagnostics": "a"}, {"diagnostics": "b"}]}
    assert answer_of(httpx.Response(422, json=outcome)).reason == "a; b"
    assert answer_of(httpx.Response(400, content=b"x" * 9_999)).reason == "x" * 500
    assert answer_of(httpx.Response(400)).reason == "Bad Request"


def test_retry_after_is_read_in_both_forms_and_bounded() -> None:
    def seconds(text: str) -> float:
        return answer_of(httpx.Response(503, headers={"Retry-After": text})).retry_after_s

    assert seconds("7") == 7
    assert seconds("999999999999") == MAX_RETRY_AFTER_S
    # an hour ahead is cut at the bound, whatever the time of day is
    assert seconds(email.utils.formatdate(time.time() + 9_000, usegmt=True)) == MAX_RETRY_AFTER_S
    assert seconds(email.utils.formatdate(0, usegmt=True)) == 0
    assert seconds("soon") == seconds("-5") == 0


def test_a_pause_doubles_up_to_its_bound_and_honours_retry_after() -> None:
    policy = RetryPolicy(base_s=1, max_s=8)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (5_000, 8)):
        pauses = [policy.pause_s(failures) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert policy.pause_s(1, retry_after_s=30) == 30
