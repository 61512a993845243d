"""Restarts by operators, and wrong clocks: nothing may be lost or arrive twice."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from tests.faults.campaign import Size, Skipped, running_rig
from tests.faults.processes import BrokerProcess
from tests.faults.rig import Rig

PATIENTS = tuple(f"p{n}" for n in range(12))
_FAKETIME = "faketime"


async def rolling_restart(folder: Path, size: Size) -> Rig:
    """Stops each of three processes of each role with SIGTERM and restarts it, one after the other."""
    count = size.pick(2, 3)
    async with running_rig(folder, size, api=count, match=count, dispatch=count) as rig:
        for n in range(3):
            await rig.subscribe(f"s{n}", *PATIENTS[n::3], max_count=5)
        async with rig.load(PATIENTS, per_s=60):
            for process in rig.brokers:
                assert await process.stop(), f"{process.name} did not exit"
                rig.fault(f"SIGTERM and restart of a {process.command} process", can_repeat=False)
                await process.start()
            await rig.until_recovered("the last restarted process")
    return rig


async def wrong_clocks(folder: Path, size: Size) -> Rig:
    """Restarts each process in turn with a clock that is ten minutes ahead, then ten minutes behind."""
    if shutil.which(_FAKETIME) is None:
        raise Skipped("the program faketime is not installed (Debian: apt-get install faketime)")
    async with running_rig(folder, size) as rig:
        await rig.subscribe("s0", *PATIENTS, max_count=5)
        async with rig.load(PATIENTS, per_s=60):
            for offset in ("+10m", "-10m"):
                for process in rig.brokers if not size.is_short else rig.dispatch:
                    assert await process.stop(), f"{process.name} did not exit"
                    rig.fault(f"clock of a {process.command} process {offset}", can_repeat=False)
                    await _start_at(process, offset)
                    await asyncio.sleep(1)
                    await rig.until_recovered("a process with a wrong clock")
    return rig


async def _start_at(process: BrokerProcess, offset: str) -> None:
    # without the program faketime as parent: a signal would stop faketime and leave the broker running
    process.prefix = ("env", f"LD_PRELOAD={_library()}", f"FAKETIME={offset}")
    try:
        await process.start()
    finally:
        process.prefix = ()


def _library() -> str:
    """The library that faketime preloads."""
    shown = subprocess.run([_FAKETIME, "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, check=True)
    return shown.stdout.decode().strip()
