"""Both producers: retries, idempotency keys, order, messages that are refused, what a restart finds."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from broker.client import (
    Answer,
    AsyncProducer,
    BufferFull,
    ClientError,
    Message,
    NotSent,
    OfflineBuffer,
    Producer,
    Progress,
    RetryPolicy,
    reading,
    resource,
)
from broker.errors import ConfigurationError
from tests.spawning import ROOT

BASE = "http://broker.example:8080"
POLICY = RetryPolicy(attempts=4, base_s=0.001, max_s=0.002, attempts_on_failure=3)
WAIT_S = 60.0


class Server:
    """Answers in turn with statuses or errors, and 201 after the last; keeps what it accepted."""

    def __init__(self, *answers: int | Exception | httpx.Response) -> None:
        self._answers: Iterator[int | Exception | httpx.Response] = iter(answers)
        self.requests: list[httpx.Request] = []
        self.refuses: Callable[[Any], bool] = lambda _body: False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers, 201)
        if isinstance(answer, Exception):
            raise answer
        if self.refuses(json.loads(request.content)):
            return httpx.Response(422, json={"issue": [{"diagnostics": "never"}]})
        return answer if isinstance(answer, httpx.Response) else httpx.Response(answer)

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]


class Made(Protocol):
    """One of the producers, with awaitable methods."""

    async def send(self, message: Message) -> Answer: ...

    async def put(self, *messages: Message) -> None: ...

    async def flush(self, timeout_s: float | None = None) -> bool: ...

    @property
    def buffer(self) -> OfflineBuffer: ...

    @property
    def progress(self) -> Progress: ...


class InThread:
    """`Producer` with the methods of `AsyncProducer`."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def send(self, message: Message) -> Answer:
        return await asyncio.to_thread(self._producer.send, message)

    async def put(self, *messages: Message) -> None:
        await asyncio.to_thread(self._producer.put, *messages)

    async def flush(self, timeout_s: float | None = None) -> bool:
        return await asyncio.to_thread(self._producer.flush, timeout_s)

    @property
    def buffer(self) -> OfflineBuffer:
        return self._producer.buffer

    @property
    def progress(self) -> Progress:
        return self._producer.progress


Make = Callable[..., contextlib.AbstractAsyncContextManager[Made]]


@pytest.fixture(params=["threads", "asyncio"])
def make(request: pytest.FixtureRequest) -> Make:
    @contextlib.asynccontextmanager
    async def entered(server: Server, **options: Any) -> AsyncIterator[Made]:
        values: dict[str, Any] = {"policy": POLICY, "transport": httpx.MockTransport(server)} | options
        if request.param == "threads":
            with Producer(BASE, **values) as producer:
                yield InThread(producer)
        else:
            async with AsyncProducer(BASE, **values) as producer_of_asyncio:
                yield producer_of_asyncio

    return entered


def numbered(*numbers: int) -> list[Message]:
    return [reading({"n": n}, key=f"key-{n}") for n in numbers]


async def test_a_message_is_sent_until_it_is_answered_each_time_with_its_key(make: Make) -> None:
    server = Server(httpx.ConnectError("no"), 503, 429)
    async with make(server) as producer:
        answer = await producer.send(resource({"resourceType": "Observation"}, key="k"))
        assert answer.is_accepted
        assert producer.progress == Progress(accepted=1, retries=3)
    assert server.keys == ["k"] * 4
    assert {str(request.url) for request in server.requests} == {f"{BASE}/r4/Observation"}


async def test_a_refusal_ends_the_attempts_and_gives_the_reason(make: Make) -> None:
    server = Server()
    server.refuses = lambda _body: True
    async with make(server) as producer:
        answer = await producer.send(numbered(1)[0])
    assert (answer.is_accepted, answer.status, answer.reason) == (False, 422, "never")
    assert len(server.requests) == 1


async def test_the_attempts_to_send_are_bounded(make: Make) -> None:
    server = Server(*[503] * 10)
    async with make(server) as producer:
        with pytest.raises(NotSent, match="in 4 attempts"):
            await producer.send(numbered(1)[0])
    assert len(server.requests) == 4


async def test_a_client_without_a_token_is_told_so(make: Make) -> None:
    server = Server(*[ConfigurationError("the key is not registered")] * 4)
    async with make(server) as producer:
        with pytest.raises(ConfigurationError, match="not registered"):
            await producer.send(numbered(1)[0])


async def test_what_is_put_arrives_in_order_across_failures(make: Make, tmp_path: Path) -> None:
    server = Server(httpx.ConnectError("no"), 503, 201, 500, 401, httpx.ReadTimeout("late"), 201, 429)
    async with make(server, buffer=tmp_path / "b") as producer:
        await producer.put(*numbered(0, 1, 2))
        await producer.put(*numbered(3))
        assert await producer.flush(WAIT_S)
        assert producer.progress == Progress(accepted=4, retries=6)
        assert producer.buffer.counts().accepted == 4
    assert list(dict.fromkeys(server.keys)) == ["key-0", "key-1", "key-2", "key-3"]


async def test_a_refused_message_does_not_stop_those_behind_it(make: Make, tmp_path: Path) -> None:
    server = Server()
    server.refuses = lambda body: body["n"] == 1
    async with make(server, buffer=tmp_path / "b") as producer:
        await producer.put(*numbered(0, 1, 2))
        assert await producer.flush(WAIT_S)
        assert [each.message.key for each in producer.buffer.refused()] == ["key-1"]
        assert (producer.progress.accepted, producer.progress.aside) == (2, 1)
    assert server.keys == ["key-0", "key-1", "key-2"]


async def test_a_message_on_which_the_broker_always_fails_is_set_aside(make: Make, tmp_path: Path) -> None:
    server = Server(500, 500, 500)
    async with make(server, buffer=tmp_path / "b") as producer:
        await producer.put(*numbered(0, 1))
        assert await producer.flush(WAIT_S)
        assert [each.status for each in producer.buffer.refused()] == [500]
    assert server.keys == ["key-0"] * 3 + ["key-1"]


async def test_denied_credentials_lose_no_message(make: Make, tmp_path: Path) -> None:
    server = Server(*[403] * 20)
    async with make(server, buffer=tmp_path / "b") as producer:
        await producer.put(*numbered(0))
        assert await producer.flush(WAIT_S)
    assert server.keys == ["key-0"] * 21


async def test_a_new_process_sends_what_the_last_one_left(make: Make, tmp_path: Path) -> None:
    with OfflineBuffer(tmp_path / "b") as buffer:
        buffer.append(*numbered(0, 1))
    server = Server()
    async with make(server, buffer=tmp_path / "b") as producer:
        assert await producer.flush(WAIT_S)
    assert server.keys == ["key-0", "key-1"]


async def test_a_producer_that_cannot_send_stops_at_once_and_keeps_its_messages(
    make: Make, tmp_path: Path
) -> None:
    server = Server(*[httpx.Response(503, headers={"Retry-After": "3600"})] * 99)
    async with make(server, buffer=tmp_path / "b", max_messages=2) as producer:
        await producer.put(*numbered(0, 1))
        assert not await producer.flush(0.001)
        with pytest.raises(BufferFull):
            await producer.put(*numbered(2))
    with OfflineBuffer(tmp_path / "b") as buffer:
        assert [each.message.key for each in buffer.first(9)] == ["key-0", "key-1"]


async def test_a_producer_without_a_buffer_refuses_to_put(make: Make) -> None:
    async with make(Server()) as producer:
        with pytest.raises(ClientError, match="has no buffer"):
            await producer.put(*numbered(0))


@pytest.mark.parametrize("base", ["broker.example", "ftp://broker.example", "http://", "http://a:port"])
def test_a_base_that_is_no_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="is no URL"):
        Producer(base)
    with pytest.raises(ValueError, match="is no URL"):
        AsyncProducer(base)


def test_the_client_imports_no_part_of_the_server() -> None:
    code = "import sys, broker.client; print(*sys.modules)"
    imported = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()
    of_the_broker = {name for name in imported if name.partition(".")[0] == "broker"}
    assert {name for name in of_the_broker if not name.startswith("broker.client")} == {
        "broker",
        "broker.errors",
        "broker.sqlite_file",
    }
    libraries = {"cryptography", "jwt", "redis", "starlette", "structlog", "msgspec", "orjson"}
    assert libraries.isdisjoint(imported)
