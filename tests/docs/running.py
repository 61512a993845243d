"""Runs the blocks of a page as a reader would: in order, in one folder, against a broker of their own.

The page says http://127.0.0.1:8080 for the broker and http://127.0.0.1:9000 for an endpoint of the reader;
here both have free ports.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx

from tests.docs.answers import difference
from tests.docs.page import ANSWERS, RUNNABLE, Block, Control, steps
from tests.integration.broker_fixture import until
from tests.integration.commands import Command, environment
from tests.ports import free_port

BROKER, ENDPOINT = "127.0.0.1:8080", "127.0.0.1:9000"
DEADLINE_S = 120.0
_TELLING = """fhir-broker() {{
  if [ "$1" = doctor ]; then command fhir-broker "$@"; else command fhir-broker "$@" --base {base}; fi
}}
"""
"""The doctor reads settings; every other command of such a page sends requests."""


class PageRunner:
    """Runs one page in `folder`, which holds the data of its broker. `endpoint` is the `host:port` of a
    subscriber. `others` are more words of the page, with what they are here. Where `names_broker` is False,
    the commands of the page go to the usual port, so here each gets the address of its broker.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        settings: Mapping[str, str],
        others: Mapping[str, str] | None = None,
        *,
        names_broker: bool = True,
    ) -> None:
        self._folder = folder
        port = free_port()
        self._addresses = {BROKER: f"127.0.0.1:{port}", ENDPOINT: endpoint, **(others or {})}
        self._prelude = "" if names_broker else _TELLING.format(base=f"http://127.0.0.1:{port}")
        self._env = environment(port=str(port), log_level="warning", **settings)
        programs = Path(sys.executable).parent  # where fhir-broker is installed
        self._env["PATH"] = f"{programs}{os.pathsep}{self._env['PATH']}"
        self._background: dict[str, Command] = {}
        self._answer = ""
        self._last: Block | None = None

    async def run(
        self,
        page: Path,
        before_end: Callable[[], Awaitable[None]] | None = None,
        prepare: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
    ) -> int:
        """Runs the page; the number of shown answers that were compared. `before_end` is awaited while the
        programs of the page still run: they are killed at the end, with what they have not sent yet.
        `prepare` gets the URL of the broker and makes what the page takes for granted; it returns more words
        of the page, with what they are here.
        """
        compared = 0
        try:
            await self._start_broker()
            if prepare is not None:
                self._addresses |= await prepare(f"http://{self._addresses[BROKER]}")
            for step in steps(page):
                match step:
                    case Control():
                        await self._control(step)
                    case Block() if step.language in RUNNABLE:
                        await self._perform(step)
                    case Block() if step.language in ANSWERS:
                        await self._compare(page, step)
                        compared += 1
                    case _:
                        pass
            if before_end is not None:
                await before_end()
        finally:
            for command in self._background.values():
                command.kill()
        return compared

    async def _start_broker(self) -> None:
        broker = Command(["fhir-broker", "serve"], self._folder / "broker.log", self._env, self._folder)
        self._background["broker"] = broker.spawn()
        await broker.until_ready(f"http://{self._addresses[BROKER]}")

    async def _control(self, step: Control) -> None:
        if step.verb == "start":
            await self._start_broker()
        elif step.verb == "await":
            text, _, path = step.name.partition(" at ")
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                await until(lambda: self._shows(client, path, text))
        else:
            command = self._background.pop(step.name)
            await command.stop(signal.SIGTERM if step.name == "broker" else signal.SIGKILL)

    async def _shows(self, client: httpx.AsyncClient, path: str, text: str) -> bool:
        return text in (await client.get(f"http://{self._addresses[BROKER]}{path}")).text

    async def _perform(self, block: Block) -> None:
        if block.directive("not run:") is not None:
            await self._execute(["bash", "-n", "-c", block.code])
            self._last = None
            return
        file = block.directive("saved as")
        if file is not None:
            (self._folder / file).write_text(self._here(block.code))
            return
        name = block.directive("in background as")
        if name is not None:
            log = self._folder / f"{name}.log"
            self._background[name] = Command(self._words(block), log, self._env, self._folder).spawn()
            return
        self._last = block
        if block.directive("until") is None:
            self._answer = await self._execute(self._words(block))

    async def _compare(self, page: Path, block: Block) -> None:
        """Compares the shown answer with that of the last block, or with the output of a background block."""
        place = f"{page.name}, line {block.line}"
        name = block.directive("output of")
        repeated = (
            self._last if self._last is not None and self._last.directive("until") is not None else None
        )
        found: str | None = "no answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while found is not None:
                    if name is not None:
                        self._answer = self._on_the_page(self._background[name].output)
                    elif repeated is not None:
                        self._answer = await self._execute(self._words(repeated))
                    found = difference(block.language, block.code, self._answer)
                    if name is None and repeated is None:
                        break
                    await asyncio.sleep(0.1)
        assert found is None, f"{place}: {found}"

    def _words(self, block: Block) -> list[str]:
        code = self._here(block.code)
        if block.language == "python":
            return [sys.executable, "-c", code]
        return ["bash", "-euo", "pipefail", "-c", self._prelude + code]

    def _here(self, text: str) -> str:
        for on_the_page, here in self._addresses.items():
            text = text.replace(on_the_page, here)
        return text

    def _on_the_page(self, text: str) -> str:
        for on_the_page, here in self._addresses.items():
            text = text.replace(here, on_the_page)
        return text

    async def _execute(self, words: list[str]) -> str:
        """The output of a block, with the addresses of the page. A block that fails is an error."""
        process = await asyncio.create_subprocess_exec(
            *words,
            env=self._env,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, (
            f"{words[-1]}\nexits with {process.returncode}: {errors.decode()}{output.decode()}"
        )
        return self._on_the_page(output.decode())
