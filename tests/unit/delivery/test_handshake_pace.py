"""The pace of handshakes to one host."""

from dataclasses import replace

import pytest

from broker.delivery.handshake_pace import HandshakePace, host_of
from broker.model.subscription import Subscription
from tests.subscriptions import stored_subscription


class Time:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def to(endpoint: str, name: str = "one") -> Subscription:
    subscription = stored_subscription(name)
    return subscription.changed(channel=replace(subscription.channel, endpoint=endpoint))


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://victim.example/a", "victim.example"),
        ("https://VICTIM.example.:8443/b?c", "victim.example"),
        ("http://[::1]:80/", "::1"),
        ("mailto:nurse@Ward.example", "ward.example"),
        ("", ""),
        ("https://[broken", ""),
    ],
)
def test_ports_paths_and_spellings_are_one_host(endpoint: str, host: str) -> None:
    assert host_of(endpoint) == host


def test_ten_thousand_registrations_to_one_host_take_a_quarter_of_an_hour() -> None:
    time = Time()
    pace = HandshakePace(600, time)
    waiting = [to(f"https://victim.example:{1_000 + n % 9_000}/{n}", f"s-{n}") for n in range(10_000)]
    sent_by_minute: list[int] = []
    while waiting:
        late = [each for each in waiting if pace.delay_s(each)]
        sent_by_minute.append(len(waiting) - len(late))
        waiting = late
        time.now_s += 60
    assert sent_by_minute[0] == 600
    assert max(sent_by_minute) <= 601
    assert len(sent_by_minute) == 17


def test_an_early_one_keeps_its_turn_and_another_host_does_not_wait() -> None:
    time = Time()
    pace = HandshakePace(60, time)
    for n in range(60):
        assert pace.delay_s(to("https://victim.example/", f"s-{n}")) == 0
    late = to("https://victim.example/", "late")
    assert pace.delay_s(late) == pytest.approx(1)
    assert pace.delay_s(late) == pytest.approx(1)
    assert pace.delay_s(to("https://other.example/", "other")) == 0
    time.now_s += 1
    assert pace.delay_s(late) == 0
    assert pace.delay_s(late) == pytest.approx(1)  # its next handshake takes a turn of its own


def test_no_limit_and_no_host_mean_no_delay() -> None:
    assert not any(HandshakePace(0).delay_s(to("https://victim.example/")) for _ in range(1_000))
    pace = HandshakePace(1)
    assert not any(pace.delay_s(to("", f"s-{n}")) for n in range(1_000))
