"""The register of the processes that run on a store, which compares their settings.

Some settings must be alike in all processes, or what one process promises another one breaks: the base URL in
the references, how durable an acknowledged change is, how long events are kept. A process that joins is
refused while another one runs with other values. When none runs, any value may be chosen.

A process counts as running until it leaves, its entry expires, or it has ended for certain
(`process_identity.py`). The composition root joins and leaves; a worker renews the entry.
"""

import contextlib
import json
import socket
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog

from broker.errors import ConfigurationError, StoreUnavailable
from broker.store import keys
from broker.store.process_identity import ProcessIdentity, own_identity
from broker.store.protocol import Store
from broker.store.scripts import leases

TTL_MS = 30_000
RENEW_S = 10.0
_log = structlog.get_logger(__name__)


class _Difference(NamedTuple):
    variable: str
    here: str
    there: str
    process: str


class ProcessRegister:
    """The entry of this process. `required` and `expected` hold the text of each value by variable: another
    value of a required one is refused, of an expected one logged. `predecessor` has ended.
    """

    def __init__(
        self,
        store: Store,
        *,
        required: Mapping[str, str],
        expected: Mapping[str, str],
        predecessor: ProcessIdentity | None = None,
    ) -> None:
        self._store = store
        self._predecessor = predecessor
        self._required = required
        self._expected = expected
        self._id = uuid.uuid4().hex
        self._description = json.dumps(
            {
                "process": own_identity().as_dict(),
                "host": socket.gethostname(),
                "settings": {**required, **expected},
            }
        ).encode()

    async def join(self) -> bool:
        """Whether no other process runs, for certain.

        Raises `ConfigurationError` if a process that runs has another value of a required setting.
        """
        others = await self._others()
        refused = _differences(self._required, others)
        if refused:
            await self.leave()
            raise ConfigurationError(_refusal(refused))
        for difference in _differences(self._expected, others):
            _log.warning("processes of one store have different settings", **difference._asdict())
        return not others

    async def renew(self) -> None:
        """Makes this process count as running for `TTL_MS` from now."""
        await leases.join_processes(self._store, self._id, TTL_MS, self._description)

    async def leave(self) -> None:
        """Makes this process count no longer. If the store is unavailable, its entry expires."""
        with contextlib.suppress(StoreUnavailable):
            await self._store.send([("HDEL", keys.PROCESSES, self._id)])

    async def _others(self) -> list[dict[str, Any]]:
        """The descriptions of the other processes that run. Entries of those that ended are removed."""
        running, ended = [], []
        for other_id, text in await leases.join_processes(self._store, self._id, TTL_MS, self._description):
            description = json.loads(text)
            identity = ProcessIdentity.from_dict(description["process"])
            if identity == self._predecessor or identity.has_ended():
                ended.append(other_id)
            else:
                running.append(description)
        if ended:
            await self._store.send([("HDEL", keys.PROCESSES, *ended)])
        return running


def _differences(values: Mapping[str, str], others: list[dict[str, Any]]) -> list[_Difference]:
    """One for each setting, with the first process that differs. A setting that the other one does not know
    is not compared: it runs another version.
    """
    differences = []
    for variable, here in values.items():
        for other in others:
            there = other["settings"].get(variable, here)
            if there != here:
                name = f"{other['process']['pid']} on {other['host']}"
                differences.append(_Difference(variable, here, there, name))
                break
    return differences


def _refusal(differences: list[_Difference]) -> str:
    found = ", and ".join(
        f"{variable} is {here} here and {there} in process {process}"
        for variable, here, there, process in differences
    )
    return (
        f"{found}, which runs on the same store. Set the same value, or stop every process of the store first"
        f" (one that was killed on another machine counts for {TTL_MS // 1000} s)."
    )
