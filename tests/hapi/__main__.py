"""`python -m tests.hapi`: the channel `fhir-write` against a HAPI FHIR JPA server as the EHR.

Exit code 0: every check holds. 1: one does not. 77: HAPI cannot be had here; nothing was checked.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx
from rich.console import Console

from broker.app import running
from broker.settings import Settings
from broker.telemetry import logs
from tests.conftest import LOOPBACK
from tests.hapi.checks import TARGETS, Checks
from tests.hapi.server import build_server, running_server
from tests.validation.java_project import NoAnswer, missing_tools

SKIPPED = 77
_CONSOLE = Console(soft_wrap=True, markup=False, highlight=False)


async def _check(base: str, folder: Path) -> int:
    targets = folder / "targets.toml"
    targets.write_text(TARGETS.format(base=base))
    settings = Settings(port=0, data_dir=folder / "data", egress_allow=LOOPBACK, write_targets=targets)
    headers = {"Content-Type": "application/fhir+json"}
    async with (
        running(settings) as broker,
        httpx.AsyncClient(
            base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False
        ) as client,
        httpx.AsyncClient(base_url=base, headers=headers, timeout=60, trust_env=False) as ehr,
    ):
        checks = Checks(client, ehr, _CONSOLE.print)
        await checks.run()
        return checks.failed


def main() -> int:
    """Downloads, starts and asks HAPI; the exit code."""
    logs.configure("error", json=False)
    missing = missing_tools()
    if missing:
        _CONSOLE.print(f"skipped: {' and '.join(missing)} not found; install a JDK (17 or newer) and Maven")
        return SKIPPED
    try:
        build_server()
    except NoAnswer as reason:
        _CONSOLE.print(f"skipped: {reason}; HAPI could not be downloaded")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="hapi-") as scratch:
        folder = Path(scratch)
        with running_server(folder) as base:
            return 1 if asyncio.run(_check(base, folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
