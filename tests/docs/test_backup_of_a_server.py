"""docs/backup.md: a snapshot of a server of one's own, taken as the page says, brings back what it held."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.docs.page import Block, steps
from tests.stores import StoreNode

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
DEADLINE_S = 120.0


@asynccontextmanager
async def running(folder: Path, **configuration: str) -> AsyncIterator[StoreNode]:
    node = StoreNode(folder, **configuration)
    await node.start()
    try:
        yield node
    finally:
        node.kill()


async def run(code: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_snapshot_of_the_page_has_what_the_server_held(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed")
    [code] = [step.code for step in steps(PAGE) if isinstance(step, Block) and "BGSAVE" in step.code]
    served, copied = tmp_path / "redis", tmp_path / "backup"
    copied.mkdir()
    async with running(served) as node:
        await node.ask("SET", "held", "before")
        code = code.replace("store:6379", node.address).replace("/var/lib/redis/", f"{served}/")
        shown = await run(code.replace("/backup/", f"{copied}/"))
        await node.ask("SET", "held", "after")
    assert "rdb_last_bgsave_status:ok" in shown
    async with running(copied, appendonly="no") as restored:
        assert await restored.ask("GET", "held") == "before"
        await restored.ask("CONFIG", "SET", "appendonly", "yes")
        assert await restored.ask("GET", "held") == "before"
