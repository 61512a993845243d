"""What operators do, and clocks that are wrong: nothing may be lost, and nothing come twice."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from tests.faults.campaign import Size, Skipped, rigged
from tests.faults.processes import BrokerProcess
from tests.faults.rig import Rig

PATIENTS = tuple(f"p{n}" for n in range(12))
_FAKETIME = "faketime"


async def rolling_restart(folder: Path, size: Size) -> Rig:
    """SIGTERM to each of three processes of each role, one after the other, and a start."""
    count = size.pick(2, 3)
    async with rigged(folder, size, api=count, match=count, dispatch=count) as rig:
        for n in range(3):
            await rig.subscribe(f"s{n}", *PATIENTS[n::3], max_count=5)
        async with rig.load(PATIENTS, per_s=60):
            for one in rig.brokers:
                assert await one.stop(), f"{one.name} did not end"
                rig.fault(f"SIGTERM and restart of a {one.command} process", can_repeat=False)
                await one.start()
            await rig.recovered("the last restarted process")
    return rig


async def wrong_clocks(folder: Path, size: Size) -> Rig:
    """The clock of one process after the other is ten minutes ahead, then ten minutes behind."""
    if shutil.which(_FAKETIME) is None:
        raise Skipped("the program faketime is not installed (Debian: apt-get install faketime)")
    async with rigged(folder, size) as rig:
        await rig.subscribe("s0", *PATIENTS, max_count=5)
        async with rig.load(PATIENTS, per_s=60):
            for offset in ("+10m", "-10m"):
                for one in rig.brokers if not size.is_short else rig.dispatch:
                    assert await one.stop(), f"{one.name} did not end"
                    rig.fault(f"clock of a {one.command} process {offset}", can_repeat=False)
                    await _start_at(one, offset)
                    await asyncio.sleep(1)
                    await rig.recovered("a process with a wrong clock")
    return rig


async def _start_at(one: BrokerProcess, offset: str) -> None:
    # not through the program itself, which stays in between: a signal would end it and leave the broker running
    one.prefix = ("env", f"LD_PRELOAD={_library()}", f"FAKETIME={offset}")
    try:
        await one.start()
    finally:
        one.prefix = ()


def _library() -> str:
    """What faketime has the loader load."""
    shown = subprocess.run([_FAKETIME, "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, check=True)
    return shown.stdout.decode().strip()
