"""A client that floods beside one that behaves: the p99 of the second with and without the first.

One broker with access control, in segments that alternate. The neighbour sends at half the rate that a client
may have. The offender sends as fast as it is answered, by far more than its rate, so most answers are 429. It
runs in the measuring process, whose work for it counts as latency of the neighbour too.
"""

import asyncio
import contextlib
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx

from bench.figures import Figure, paired_ratio, percentile
from bench.rig import Program, broker, patients, register
from bench.segments import listening, paced
from broker.client import BackendServices
from broker.security.private_keys import PrivateKey

BENCH = "neighbours"
_RATE = 200
_FLOODING_CONNECTIONS = 8
_MAX_RATIO = 3.0
"""The offender's requests are refused, which costs processor time: on two cores the neighbour feels this much
of it and no more, however long the offender goes on.
"""
_SCOPE = "system/*.cruds"
_CLIENTS = ("neighbour", "offender")


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds, count = (2, 400) if is_quick else (5, 2_000)
    keys = {name: PrivateKey.generate("ES384") for name in _CLIENTS}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-clients-")))
        for name, key in keys.items():
            registration = {"client_id": name, "scope": _SCOPE, "jwks": {"keys": [dict(key.public_jwk)]}}
            (folder / f"{name}.json").write_text(json.dumps(registration))
        sink = await listening(stack)
        settings = {"auth": "smart", "clients_dir": str(folder), "request_rate": str(_RATE)}
        program = await stack.enter_async_context(broker(settings=settings))
        names = patients("patient", 50)
        await register(await _as_client(program, "neighbour", keys), sink, names)
        p99: dict[bool, list[float]] = {False: [], True: []}
        answers: Counter[str] = Counter()
        for n in range(rounds + 1):
            for is_flooded, measured in p99.items():
                neighbour = await _as_client(program, "neighbour", keys)
                offender = await _as_client(program, "offender", keys)
                counted: Counter[str] = Counter()
                async with _flood(offender, counted) if is_flooded else contextlib.nullcontext():
                    seconds = await paced(neighbour, sink, names, count, _RATE / 2)
                if n:  # the first round warms up
                    measured.append(percentile(seconds, 0.99))
                    answers += counted
    yield Figure(BENCH, "p99 alone", statistics.median(p99[False]) * 1000, "ms")
    yield Figure(BENCH, "p99 beside the offender", statistics.median(p99[True]) * 1000, "ms")
    yield Figure(
        BENCH, "p99 beside the offender / alone", paired_ratio(p99[True], p99[False]), at_most=_MAX_RATIO
    )
    yield Figure(
        BENCH, "answers to the offender that are 429", answers["429"] / answers.total(), at_least=0.5
    )


async def _as_client(program: Program, name: str, keys: dict[str, PrivateKey]) -> Program:
    """The program with a new token of the client for each request."""
    auth = BackendServices(program.base, name, keys[name], _SCOPE)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.get(f"{program.base}/Observation/none", auth=auth)
    return replace(program, authorization=response.request.headers["Authorization"])


@contextlib.asynccontextmanager
async def _flood(program: Program, answers: Counter[str]) -> AsyncIterator[None]:
    """Requests as fast as they are answered while the block runs. Counts the answers by status."""
    message = (
        f"GET {program.path}/none HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {program.authorization}\r\n\r\n"
    ).encode()

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
        with contextlib.closing(writer):
            while True:
                writer.write(message)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                answers[head[9:12].decode()] += 1

    async with asyncio.TaskGroup() as tasks:
        flooding = [tasks.create_task(send()) for _ in range(_FLOODING_CONNECTIONS)]
        yield
        for task in flooding:
            task.cancel()
