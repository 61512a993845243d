"""What security costs the pipeline: rate and processor time with access tokens, signed notifications and the
audit trail, compared with none of them, and with sealed resources alone. The programs run in turns.
"""

import asyncio
import contextlib
import dataclasses
import json
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, patients, register
from bench.segments import Segment, drive, listening
from broker.app.secrets import new_ring
from broker.client import BackendServices
from broker.security.private_keys import PrivateKey

BENCH = "security"
LEAST_RATE = 0.85
"""With everything on, compared with everything off."""
_CLIENT = "bench"
_SCOPE = "system/*.cruds"
_BARE, _SECURE, _SEALED = "off", "on", "sealed resources"


class _Access:
    """A registered client, and its tokens."""

    def __init__(self, clients_dir: Path) -> None:
        self._key = PrivateKey.generate("ES384")
        jwks = {"keys": [dict(self._key.public_jwk)]}
        registration = {"client_id": _CLIENT, "scope": _SCOPE, "jwks": jwks}
        (clients_dir / f"{_CLIENT}.json").write_text(json.dumps(registration))

    def auth(self, program: Program) -> BackendServices:
        return BackendServices(program.base, _CLIENT, self._key, _SCOPE)

    async def authorized(self, program: Program) -> Program:
        """The program with a new token: one lives for five minutes, which is longer than a segment."""
        async with httpx.AsyncClient(trust_env=False, timeout=60, auth=self.auth(program)) as client:
            response = await client.get(f"{program.base}/Subscription?_count=0")
            response.raise_for_status()
        return dataclasses.replace(program, authorization=response.request.headers["Authorization"])


async def _sign(program: Program, ids: list[str], access: _Access) -> None:
    """Gives each subscription a secret, so that its notifications are signed."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, auth=access.auth(program)) as client:
        pending = iter(ids)

        async def work() -> None:
            for each in pending:
                url = f"{program.base}/Subscription/{each}/$rotate-secret"
                (await client.post(url)).raise_for_status()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(work())


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (3, 1_500) if is_quick else (7, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-security-")))
        clients_dir, ring = folder / "clients", folder / "key-ring.json"
        clients_dir.mkdir()
        new_ring().write(ring)
        access = _Access(clients_dir)
        settings = {
            _BARE: {"audit": "off"},
            _SECURE: {"auth": "smart", "clients_dir": str(clients_dir), "key_ring": str(ring)},
            _SEALED: {"audit": "off", "key_ring": str(ring), "seal_resources": "true"},
        }
        sink = await listening(stack)
        programs = {
            name: await stack.enter_async_context(broker(settings=each)) for name, each in settings.items()
        }
        names = patients("patient")
        for name, program in programs.items():
            registering = await access.authorized(program) if name == _SECURE else program
            ids = await register(registering, sink, names)
            if name == _SECURE:
                await _sign(program, ids, access)
        runs: dict[str, list[Segment]] = {name: [] for name in programs}
        for n in range(rounds + 1):
            for name, program in programs.items():
                driven = await access.authorized(program) if name == _SECURE else program
                segment = await drive(driven, sink, names, count)
                if n:  # the first round warms up
                    runs[name].append(segment)
    for figure in _figures(runs):
        yield figure


def _figures(runs: dict[str, list[Segment]]) -> list[Figure]:
    figures = []
    rates = {name: [segment.per_s for segment in segments] for name, segments in runs.items()}
    totals = {name: [sum(each.cpu_us.values()) for each in segments] for name, segments in runs.items()}
    for name, segments in runs.items():
        figures.append(Figure(BENCH, f"rate, {name}", statistics.median(rates[name]), "events/s"))
        figures.append(Figure(BENCH, f"CPU, {name}", statistics.median(totals[name]), "µs/event"))
        for process in segments[0].cpu_us:
            used = statistics.median(segment.cpu_us[process] for segment in segments)
            figures.append(Figure(BENCH, f"CPU of {process}, {name}", used, "µs/event"))
    for name in (_SECURE, _SEALED):
        rate = paired_ratio(rates[name], rates[_BARE])
        at_least = LEAST_RATE if name == _SECURE else None
        figures.append(Figure(BENCH, f"rate, {name} / off", rate, at_least=at_least))
        figures.append(Figure(BENCH, f"CPU, {name} / off", paired_ratio(totals[name], totals[_BARE])))
    return figures
