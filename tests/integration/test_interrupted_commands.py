"""Ctrl-C ends every command with one line and exit code 130, whatever it waits for."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.commands import START_S, Command


class SilentServer:
    """Accepts connections and never answers."""

    def __init__(self) -> None:
        self.base = ""
        self.connected = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass
        writer.close()


@pytest.fixture
async def silent() -> AsyncIterator[SilentServer]:
    silent = SilentServer()
    server = await asyncio.start_server(silent.handle, "127.0.0.1", 0)
    silent.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield silent
    server.close()


COMMANDS = (
    ("subscriptions", "list"),
    ("subscriptions", "activate", "x"),
    ("dead-letters", "redrive", "--all"),
    ("topics", "list"),
    ("explain", "x", "Observation/1"),
    ("simulate",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
async def test_a_command_that_waits_for_the_broker(
    tmp_path: Path, silent: SilentServer, arguments: tuple[str, ...]
) -> None:
    with Command.of_broker(tmp_path, *arguments, "--base", silent.base) as command:
        async with asyncio.timeout(START_S):
            await silent.connected.wait()
        assert await command.stop(signal.SIGINT) == 130, command.output
    assert command.output.splitlines()[-1] == "fhir-broker: stopped by Ctrl-C"
    assert "Traceback" not in command.output
    if arguments != ("simulate",):
        assert command.output.count("\n") == 1


async def test_a_listener_without_a_broker(tmp_path: Path) -> None:
    for arguments in ((), ("--broker", "http://127.0.0.1:9")):
        folder = tmp_path / str(len(arguments))
        folder.mkdir()
        with Command.of_broker(folder, "listen", "--port", "0", *arguments) as command:
            await command.until_output("listening on")
            assert await command.stop(signal.SIGINT) == 130, command.output
        *before, last = command.output.splitlines()[1:]
        assert last == "fhir-broker: stopped by Ctrl-C"
        assert all("the subscription may remain: the broker does not answer" in line for line in before)


async def test_a_listener_whose_broker_does_not_answer(tmp_path: Path, silent: SilentServer) -> None:
    with Command.of_broker(tmp_path, "listen", "--port", "0", "--broker", silent.base) as command:
        async with asyncio.timeout(START_S):
            await silent.connected.wait()
        silent.connected.clear()
        assert command.process is not None
        command.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(START_S):
            await silent.connected.wait()
        assert await command.stop(signal.SIGINT) == 130, "the second one does not wait for the deletion"
    assert command.output.splitlines()[-1] == "fhir-broker: stopped by Ctrl-C"
    assert "Traceback" not in command.output
