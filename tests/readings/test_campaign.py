"""A short readings campaign (`make readings` runs the long one), and what it sends."""

from pathlib import Path

from broker.testing.simulation import Fault
from tests.readings.campaign import Found, Size, emissions, expected_of, run

SHORT = Size(devices=50, readings=12, settle_s=90.0)


def test_the_readings_of_a_campaign_are_the_same_each_time_and_have_each_fault() -> None:
    first, second = emissions(SHORT), emissions(SHORT)
    assert [each.payload for each in first] == [each.payload for each in second]
    expected = expected_of(first)
    assert expected.readings + expected.quarantined == 600
    assert all(expected.sent[fault] for fault in Fault)
    payloads = [each.payload for each in first if each.fault is not Fault.DUPLICATE]
    assert len(set(payloads)) == len(payloads)


async def test_each_reading_is_one_observation_and_one_event_though_the_broker_is_killed_twice(
    tmp_path: Path,
) -> None:
    expected, found = await run(tmp_path, SHORT)
    assert found == Found(expected.readings, expected.readings, expected.quarantined)
