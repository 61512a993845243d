"""Processes that are killed or suspended."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from broker.failpoints import NAMES, Name
from tests.faults.background_traffic import INBOX_PATIENT, BackgroundTraffic
from tests.faults.campaign import Run, Size, running_rig
from tests.faults.listener import accepting, answering, in_turn
from tests.faults.processes import BrokerProcess
from tests.faults.rig import Rig

PATIENTS = tuple(f"p{n}" for n in range(12))
_ROLES = {"intake": "api", "inbox": "api", "registration": "api", "matcher": "match"}
"""The role whose process passes the failpoints with this prefix; the dispatcher passes all others."""
PASSED_S = 60.0
"""How long a process has to pass its failpoint once, and `_EACH_PASS_S` for each further pass: on a loaded
machine rare work, such as a registration, passes a failpoint once in a second or two.
"""
_EACH_PASS_S = 4.0
_LEASE_S = 5.0


def role_of(name: Name) -> str:
    return _ROLES.get(name.partition(".")[0], "dispatch")


async def _subscribe(rig: Rig) -> None:
    """Endpoints that accept everything, and one that refuses every third notification, so that there are
    retries.
    """
    await rig.subscribe("steady", *PATIENTS[:4], INBOX_PATIENT, max_count=5)
    await rig.subscribe("single", *PATIENTS[4:8])
    await rig.subscribe(
        "unreliable", *PATIENTS[8:], behaviour=in_turn(accepting, accepting, answering(503)), max_count=3
    )


async def _kill_in_turn(rig: Rig, process: BrokerProcess, names: Sequence[Name], nth: int) -> None:
    process.kill()
    for name in names:
        process.spawn(failpoint=f"{name}:kill@{nth}")
        assert await process.until_ended(PASSED_S + nth * _EACH_PASS_S), f"{name} was not passed {nth} times"
        rig.fault(f"SIGKILL at {name}")
    await process.start()


def at_every_failpoint(nth: int, names: Sequence[Name] = NAMES) -> Run:
    """Kills each process at each of its failpoints in turn, when it passes the failpoint for the nth time."""

    async def run(folder: Path, size: Size) -> Rig:
        async with running_rig(folder, size) as rig:
            await _subscribe(rig)
            victims = {"api": rig.api[0], "match": rig.match[0], "dispatch": rig.dispatch[0]}
            async with BackgroundTraffic(rig) as traffic, rig.load(PATIENTS, per_s=60):
                async with asyncio.TaskGroup() as killing:
                    for role, victim in victims.items():
                        failpoints = [name for name in names if role_of(name) == role]
                        killing.create_task(_kill_in_turn(rig, victim, failpoints, nth))
                await rig.until_recovered("the last killed process")
                await traffic.stop()
        return rig

    return run


def failing_at_every_failpoint(action: str) -> Run:
    """Each failpoint fails once, like a bug or a lost answer of the store; no process is killed."""

    async def run(folder: Path, size: Size) -> Rig:
        async with running_rig(folder, size) as rig:
            await _subscribe(rig)
            async with BackgroundTraffic(rig) as traffic, rig.load(PATIENTS, per_s=60):
                for process in rig.brokers:
                    await process.stop()
                    failpoints = [name for name in NAMES if role_of(name) == process.command]
                    # spread out, so that the process recovers from one failure before the next
                    await process.start(
                        failpoint=",".join(
                            f"{name}:{action}@{3 * (n + 1)}" for n, name in enumerate(failpoints)
                        )
                    )
                rig.fault("failures begin")
                await asyncio.sleep(size.pick(5.0, 20.0))
                await traffic.stop()
            text = "".join(process.log.read_text() for process in rig.brokers)
            for name in NAMES:
                if f"failpoint {name}" in text:
                    rig.fault(f"{action} at {name}")
        return rig

    return run


async def random_kills(folder: Path, size: Size) -> Rig:
    """Kills a random process among several of each role, repeatedly."""
    source = random.Random(5)
    async with running_rig(folder, size, api=2, match=2, dispatch=2) as rig:
        await _subscribe(rig)
        async with rig.load(PATIENTS, per_s=100):
            until = asyncio.get_running_loop().time() + size.pick(8.0, 90.0)
            while asyncio.get_running_loop().time() < until:
                victim = source.choice(rig.brokers)
                victim.kill()
                rig.fault(f"SIGKILL of a random {victim.command} process")
                await asyncio.sleep(source.uniform(0.1, 1.5))
                await victim.start()
            await rig.until_recovered("the last killed process")
    return rig


async def paused_dispatcher(folder: Path, size: Size) -> Rig:
    """A dispatcher is suspended past the lease of its claims and resumes when another has sent the same
    notifications.
    """
    async with running_rig(folder, size, dispatch=2) as rig:
        await _subscribe(rig)
        async with rig.load(PATIENTS, per_s=60):
            for victim in itertools.islice(itertools.cycle(rig.dispatch), size.pick(1, 6)):
                await asyncio.sleep(1)
                victim.suspend()
                rig.fault("SIGSTOP of a dispatcher past its lease")
                await asyncio.sleep(_LEASE_S + 2)
                victim.resume()
                await rig.until_recovered("a dispatcher that was suspended")
    return rig


async def paused_matcher(folder: Path, size: Size) -> Rig:
    """A matcher that holds partitions is suspended and resumes when another holds them."""
    async with running_rig(folder, size, match=2) as rig:
        await _subscribe(rig)
        async with rig.load(PATIENTS, per_s=60):
            for victim in itertools.islice(itertools.cycle(rig.match), size.pick(1, 6)):
                await asyncio.sleep(1)
                victim.suspend()
                rig.fault("SIGSTOP of a matcher past its lease")
                await asyncio.sleep(_LEASE_S + 2)
                victim.resume()
                await rig.until_recovered("a matcher that was suspended")
    return rig
