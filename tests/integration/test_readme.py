"""The commands of the README work in their order, as a reader runs them in a folder with nothing in it."""

import asyncio
import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.integration.commands import REPOSITORY, Command, environment
from tests.ports import free_port

README = (REPOSITORY / "README.md").read_text()
BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def recipe(target: str) -> str:
    """What `make TARGET` runs after the installation, which these tests have done already."""
    makefile = (REPOSITORY / "Makefile").read_text()
    found = re.search(rf"^{target}: install ##.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert found is not None, f"there is no target {target}"
    return found[1].strip().removeprefix("@").replace("$(BIN)", ".venv/bin")


class Terminals:
    """Runs each block of the README; what does not end stays in the background until all have run."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.base = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._stack = stack
        self._listener = str(free_port())
        self.running: dict[str, Command] = {}

    def _as_here(self, block: str) -> str:
        """The block with ports that are free here, this environment, and shorter times."""
        text = block.replace("http://127.0.0.1:8080", self.base)
        text = text.replace(".venv/bin/fhir-broker", f"{shlex.quote(sys.executable)} -m broker")
        text = text.replace("--seconds 10", "--seconds 2")
        return re.sub(r"(broker demo)$", r"\1 --seconds 1", text.strip())

    def start(self, name: str, block: str) -> Command:
        """Starts the block, which must hold one command, in the background."""
        if name == "listen":
            block = f"{block.strip()} --port {self._listener}"
        port = self.base.rpartition(":")[2]
        env = {key: value for key, value in environment().items() if not key.startswith("BROKER_")}
        command = ["bash", "-c", f"exec env {self._as_here(block)}"]
        log = self._folder / f"{name}.log"
        process = Command(command, log, env | {"BROKER_PORT": port}, self._folder)
        self.running[name] = self._stack.enter_context(process)
        return process

    async def run(self, block: str) -> str:
        """Runs the block to its end, which must be a success; its output."""
        env = {key: value for key, value in environment().items() if not key.startswith("BROKER_")}
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euc", self._as_here(block)],
            cwd=self._folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


async def test_the_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        terminals = Terminals(tmp_path, stack)

        async def make_demo(_block: str) -> None:
            assert "Every expected event was notified" in await terminals.run(recipe("demo"))

        async def serve(block: str) -> None:
            await terminals.start("serve", block).until_ready(terminals.base)

        async def listen(block: str) -> None:
            listener = terminals.start("listen", block)
            await listener.until_output("handshake")
            await listener.until_output("is active")  # the broker has the answer to it

        async def simulate(block: str) -> None:
            assert "0 not accepted" in await terminals.run(block)
            await terminals.running["listen"].until_output("event-notification")

        steps: list[tuple[str, Callable[[str], Awaitable[None]]]] = [
            ("make demo", make_demo),
            ("serve", serve),
            ("listen --broker", listen),
            ("simulate --base", simulate),
        ]
        for block, (part, step) in zip(BLOCKS, steps, strict=True):
            assert part in block
            await step(block)
        for process in terminals.running.values():
            assert await process.stop() == 0, process.output
