"""A store that is killed, suspended or full, or whose answers are lost or late."""

import asyncio
from pathlib import Path

from tests.faults.campaign import Size, running_rig
from tests.faults.history import Answer
from tests.faults.listener import now_ms
from tests.faults.rig import Rig

PATIENTS = tuple(f"p{n}" for n in range(40))
OFFERED_PER_S = 500


async def subscribe_four(rig: Rig) -> None:
    for n in range(4):
        await rig.subscribe(f"s{n}", *PATIENTS[n::4], max_count=20)


async def killed_under_load(folder: Path, size: Size) -> Rig:
    """Kills the store and restarts it on the same files, repeatedly, at an offered load of 500 changes per
    second.
    """
    async with running_rig(folder, size) as rig:
        await subscribe_four(rig)
        started_ms = now_ms()
        async with rig.load(PATIENTS, per_s=OFFERED_PER_S):
            for _ in range(size.pick(1, 10)):
                await asyncio.sleep(size.pick(1.5, 3.0))
                rig.store.kill()
                rig.fault("SIGKILL of the store under load")
                await rig.store.start()
                await rig.until_recovered("the store that was killed")
        rig.figures["changes acknowledged per second, including the outages"] = round(
            sum(map(len, rig.producer.acknowledged.values())) / ((now_ms() - started_ms) / 1000)
        )
    return rig


async def paused(folder: Path, size: Size) -> Rig:
    """The store is suspended with every connection open."""
    async with running_rig(folder, size) as rig:
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=100):
            for _ in range(size.pick(1, 3)):
                await asyncio.sleep(1)
                rig.store.suspend()
                rig.fault("the store is suspended for 10 s")
                await asyncio.sleep(size.pick(3.0, 10.0))
                rig.store.resume()
                await rig.until_recovered("the store that was suspended")
    return rig


async def out_of_memory(folder: Path, size: Size) -> Rig:
    """The store reaches its memory limit under noeviction and refuses writes until the limit is raised."""
    async with running_rig(folder, size) as rig:
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=100):
            for _ in range(size.pick(1, 3)):
                await asyncio.sleep(1)
                rig.store.configure("maxmemory", str(rig.store.used_memory()))
                rig.fault("the store is out of memory")
                await asyncio.sleep(size.pick(2.0, 5.0))
                rig.store.configure("maxmemory", "0")
                await rig.until_recovered("the store that was full")
    return rig


async def answers_lost(folder: Path, size: Size) -> Rig:
    """The store executes commands whose answers are lost together with the connection."""
    async with running_rig(folder, size, has_proxy=True) as rig:
        assert rig.proxy is not None
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=100):
            for _ in range(size.pick(8, 100)):
                await asyncio.sleep(0.3)
                rig.proxy.lose(2)
                rig.fault("answers of the store lost")
            await rig.until_recovered("the connections to the store")
    return rig


async def connections_cut(folder: Path, size: Size) -> Rig:
    """Cuts every connection to the store at once."""
    async with running_rig(folder, size, has_proxy=True) as rig:
        assert rig.proxy is not None
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=100):
            for _ in range(size.pick(2, 20)):
                await asyncio.sleep(1)
                rig.proxy.cut()
                rig.fault("all connections to the store cut")
                await rig.until_recovered("the connections to the store")
    return rig


async def answers_delayed(folder: Path, size: Size) -> Rig:
    """The store answers late for a while. No answer is lost, so nothing may arrive twice."""
    async with running_rig(folder, size, has_proxy=True) as rig:
        assert rig.proxy is not None
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=50):
            for _ in range(size.pick(1, 5)):
                await asyncio.sleep(1)
                rig.proxy.delay_s = 0.3
                rig.fault("answers of the store 300 ms late", can_repeat=False)
                await asyncio.sleep(size.pick(2.0, 5.0))
                rig.proxy.delay_s = 0.0
                await rig.until_recovered("the connection to the store")
    return rig


async def same_change_at_once(folder: Path, size: Size) -> Rig:
    """Ten requests for the same change reach three API processes at the same moment."""
    async with running_rig(folder, size, api=3) as rig:
        await rig.subscribe("s0", "ana", max_count=5)
        for n in range(size.pick(5, 50)):
            started_ms = now_ms()
            answers = await asyncio.gather(*(rig.producer.try_once(f"ana-{n}", "ana", 1) for _ in range(10)))
            rig.fault("the same change posted 10 times at once to 3 processes", can_repeat=False)
            assert {answer for answer, _ in answers} == {Answer.ACKNOWLEDGED}
            assert {version for _, version in answers} == {1}
            rig.producer.acknowledge(f"ana-{n}", "ana", 1, started_ms)
    return rig
