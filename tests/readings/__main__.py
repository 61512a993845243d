"""`python -m tests.readings [--devices N] [--readings N]`: the readings campaign in full size.

`make readings` runs it. It needs Mosquitto.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from broker.cli import loop
from tests.readings.campaign import Expected, Found, Size, run


def main() -> int:
    """Exit code: 0 if the counts are exact, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.readings", description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000, help="the number of devices (default: 1000)")
    parser.add_argument("--readings", type=int, default=60, help="readings of each device (default: 60)")
    parser.add_argument("--kills", type=int, default=2, help="how often the broker is killed (default: 2)")
    arguments = parser.parse_args()
    size = Size(arguments.devices, arguments.readings, settle_s=900.0, kills=arguments.kills)

    async def campaign(_stop: object) -> tuple[Expected, Found]:
        with (
            tempfile.TemporaryDirectory(prefix="readings-") as folder,
            Progress(console=Console(stderr=True), transient=True) as progress,
        ):
            task = progress.add_task("sending", total=1.0)
            return await run(Path(folder), size, lambda share: progress.update(task, completed=share))

    console = Console(highlight=False)
    began = time.monotonic()
    expected, found = loop.run(campaign)
    sent = ", ".join(f"{count} {fault}" for fault, count in sorted(expected.sent.items()))
    console.print(
        f"sent: {sent} (none: once and in time), in {time.monotonic() - began:.0f} s with the checks"
    )
    console.print(f"expected: {expected.readings} readings and events, {expected.quarantined} in quarantine")
    console.print(
        f"found: {found.observations} Observations, {found.events} events, {found.quarantined} in quarantine"
    )
    is_exact = found == Found(expected.readings, expected.readings, expected.quarantined)
    console.print("exact" if is_exact else "NOT EXACT")
    return 0 if is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
