"""The events and timers that tell a dispatcher where to look."""

import asyncio

from broker.workers.shard_alarms import ShardAlarms


async def test_an_alarm_rings_when_its_time_has_come() -> None:
    alarms = ShardAlarms(range(2))
    alarms.set_alarm(1, 1)
    async with asyncio.timeout(60):
        await alarms.events[1].wait()
    assert not alarms.events[0].is_set()


async def test_an_alarm_moves_forward_only_unless_it_is_replaced() -> None:
    alarms = ShardAlarms(range(2))
    for shard in range(2):
        alarms.set_alarm(shard, 1)
    alarms.advance_alarm(0, 60_000)  # later than the alarm: it stays
    alarms.set_alarm(1, 60_000)
    async with asyncio.timeout(60):
        await alarms.events[0].wait()
    await asyncio.sleep(0)
    assert not alarms.events[1].is_set()
    alarms.advance_alarm(1, 0)
    async with asyncio.timeout(60):
        await alarms.events[1].wait()


async def test_all_shards_can_be_rung() -> None:
    alarms = ShardAlarms(range(3))
    alarms.ring_all()
    assert all(event.is_set() for event in alarms.events.values())
