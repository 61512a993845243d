"""Names a process of this machine for good, so that others can prove that it has ended.

A process id alone is used again. Together with the time at which the process started, the boot of the machine
and the namespace of its process ids, it stands for one process only. The lock of a data directory
(`data_directory.py`) and the register of a store's processes (`processes.py`) store identities.
"""

import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

_PROC = Path("/proc")
_STARTED = 19
"""Index of the start time in `/proc/<pid>/stat`, counted from the state, which follows the name."""
_ENDED_STATES = frozenset("ZX")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """`started` is in clock ticks since the boot. Without `/proc`, `boot` is empty: nothing can be proved."""

    pid: int
    started: int
    boot: str
    namespace: str

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """The identity that `as_dict` gave. Raises `KeyError`, `TypeError` or `ValueError` for others."""
        return cls(
            int(document["pid"]),
            int(document["started"]),
            str(document["boot"]),
            str(document["namespace"]),
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def has_ended(self) -> bool:
        """Whether the process has ended for certain; False for a process of another machine or container."""
        here = own_identity()
        if not here.boot or (self.boot, self.namespace) != (here.boot, here.namespace):
            return False
        return _start_of(self.pid) != self.started


@cache
def own_identity() -> ProcessIdentity:
    """The identity of this process."""
    pid = os.getpid()
    try:
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        namespace = str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        return ProcessIdentity(pid, 0, "", "")
    return ProcessIdentity(pid, _start_of(pid) or 0, boot, namespace)


def _start_of(pid: int) -> int | None:
    """When the process started; None if it does not run."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _ENDED_STATES else int(fields[_STARTED])
