"""Failpoints: their syntax, when they act, and that a misspelled one stops the start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from broker import failpoints
from broker.errors import ConfigurationError, StoreUnavailable
from broker.failpoints import Failpoint, Failure
from broker.settings import Settings


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(())


def test_several_failpoints_are_read_from_one_line() -> None:
    assert failpoints.parse("matcher.after-read:kill@7, delivery.built:pause=250,status.changed:error") == (
        Failpoint("matcher.after-read", "kill", 7),
        Failpoint("delivery.built", "pause", 1, 250),
        Failpoint("status.changed", "error", 1),
    )


@pytest.mark.parametrize(
    "text",
    [
        "matcher.after-read",
        "matcher.after-reed:kill",
        "matcher.after-read:explode",
        "matcher.after-read:kill@0",
        "matcher.after-read:pause",
        "matcher.after-read:kill=3",
        "matcher.after-read:kill matcher.before-ack:kill",
    ],
)
def test_an_invalid_failpoint_stops_the_start_with_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({"BROKER_FAILPOINT": text})
    assert str(caught.value).startswith(f"BROKER_FAILPOINT={text!r} is not valid. Set name:action@k")
    assert "\n" not in str(caught.value)


def test_a_failpoint_acts_once_when_it_is_passed_for_the_kth_time() -> None:
    failpoints.arm(failpoints.parse("matcher.before-ack:error@3"))
    for nth in range(1, 8):
        if nth == 3:
            with pytest.raises(Failure, match=r"matcher\.before-ack"):
                failpoints.hit("matcher.before-ack")
        else:
            failpoints.hit("matcher.before-ack")
    assert failpoints.passed() == {"matcher.before-ack": 7}


def test_a_failpoint_leaves_other_places_alone() -> None:
    failpoints.arm(failpoints.parse("matcher.before-ack:error"))
    failpoints.hit("matcher.after-ack")
    assert failpoints.passed() == {"matcher.before-ack": 0}


def test_unavailable_raises_the_error_of_a_store_that_does_not_answer() -> None:
    failpoints.arm(failpoints.parse("intake.after-append:unavailable"))
    with pytest.raises(StoreUnavailable):
        failpoints.hit("intake.after-append")


def test_pause_blocks_the_process() -> None:
    failpoints.arm(failpoints.parse("delivery.built:pause=60"))
    before = time.monotonic()
    failpoints.hit("delivery.built")
    assert time.monotonic() - before >= 0.06


def test_kill_ends_the_process_at_once() -> None:
    program = (
        "from broker import failpoints as f; f.arm(f.parse('delivery.built:kill@2')); "
        "f.hit('delivery.built'); "
        "print('once', flush=True); f.hit('delivery.built'); print('twice')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == [b"once"]
