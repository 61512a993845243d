"""The EHR of a scenario: the channel `fhir-write` writes to it, and it fails on request, restarts included.

For the rig it is an endpoint like any other: what it accepted are the changes that were written to it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from broker.testing.ehr import SimulatedEhr
from broker.testing.ehr_store import StoredVersion
from tests.faults.history import Change, History, ResourceWritten
from tests.ports import free_port

SYSTEM = "urn:broker"
_TARGET = """
[[target]]
name = "{name}"
base = "{base}"
types = ["Observation"]
lookups = ["Patient", "Device"]
creates = ["Patient", "Device"]
identifier_system = "urn:broker"
max_entries = {max_entries}
"""
_POLL_S = 0.05


class EhrTarget:
    """`name` is that of the target and its subscription. Listens after `open`; its data outlives `close`."""

    def __init__(self, name: str, *, max_entries: int) -> None:
        self.name = name
        self.ehr = SimulatedEhr(port=free_port())
        self._max_entries = max_entries

    async def open(self) -> None:
        await self.ehr.start()

    async def close(self) -> None:
        """Refuses connections from now on."""
        await self.ehr.stop()

    @property
    def configuration(self) -> str:
        """The target's table of BROKER_WRITE_TARGETS; `open` was called once."""
        return _TARGET.format(name=self.name, base=self.ehr.base, max_entries=self._max_entries)

    @property
    def accepted(self) -> set[Change]:
        return {(written.resource, written.sequence) for written in self.writes()}

    @property
    def last_accepted_ms(self) -> float:
        return max((written.at_ms for written in self.writes()), default=0.0)

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Waits for a condition on what was written; False if the time runs out first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not holds():  # noqa: ASYNC110 the EHR is also written to by what it creates
                    await asyncio.sleep(_POLL_S)
        return holds()

    def writes(self) -> list[ResourceWritten]:
        return [_written(self.name, each) for each in self.ehr.store.writes if each.type == "Observation"]

    def record(self, history: History) -> None:
        """Adds everything that was written to the history."""
        for written in self.writes():
            history.add(written)


def write_configuration(folder: Path, *targets: EhrTarget) -> Path:
    path = folder / "targets.toml"
    path.write_text("".join(target.configuration for target in targets))
    return path


def _written(name: str, version: StoredVersion) -> ResourceWritten:
    assert version.resource is not None, "nothing is deleted in a run"
    [own] = [each for each in version.resource["identifier"] if each["system"] == SYSTEM]
    # the id of a reading begins with its patient
    patient = own["value"].removeprefix("Observation/").rpartition("-")[0]
    return ResourceWritten(
        name,
        own["value"],
        int(version.resource["valueQuantity"]["value"]),
        patient,
        version.resource["subject"]["reference"],
        version.id,
        version.at_ms,
    )
