"""The reload of mappings: a changed file is used, and one that cannot be used leaves its former version."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.mapping.mapping_set import MappingHolder, load_mappings
from broker.workers.mapping_reload import MappingReload

FILE = """
name: {name}
match: kind == '{kind}'
device: {{identifier: {{system: 'http://example.org/devices', value: id}}}}
time: received
observations:
  - {{name: heart-rate, type: heart-rate, value: hr, unit: bpm}}
"""


class Folder:
    """A folder of mapping files that is being watched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writes = 0
        self.write("a.yaml", FILE.format(name="a", kind="first"))
        self.holder = MappingHolder(load_mappings(path))
        self.reload = MappingReload(self.holder, path, interval_s=0.01)

    def write(self, file: str, text: str) -> None:
        (self.path / file).write_text(text)
        self._writes += 1  # two writes within a tick of the file system's clock must differ
        os.utime(self.path / file, ns=(self._writes, self._writes))

    def names(self) -> list[str]:
        return [mapping.name for mapping in self.holder.current.mappings if not mapping.is_shipped]

    def kinds_of(self, kind: str) -> list[str]:
        return [mapping.name for mapping in self.holder.current.matching({"kind": kind})]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_a_changed_file_is_used_and_a_new_one(folder: Folder) -> None:
    folder.write("a.yaml", FILE.format(name="a", kind="second"))
    folder.write("b.yaml", FILE.format(name="b", kind="third"))
    await folder.reload.reload()
    assert (folder.kinds_of("first"), folder.kinds_of("second")) == ([], ["a"])
    assert folder.kinds_of("third") == ["b"]


async def test_a_file_that_cannot_be_used_leaves_its_former_version_and_says_so(folder: Folder) -> None:
    folder.write("a.yaml", FILE.format(name="a", kind="second").replace("unit: bpm", "unit: furlong"))
    folder.write("b.yaml", FILE.format(name="b", kind="third"))
    with capture_logs() as logs:
        await folder.reload.reload()
    assert (folder.kinds_of("first"), folder.kinds_of("second"), folder.kinds_of("third")) == (
        ["a"],
        [],
        ["b"],
    )
    (said,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert "a.yaml, line 7: observations[0].unit: furlong" in said["error"]
    assert "former version" in said["event"]


async def test_a_file_that_is_gone_takes_its_mapping_with_it(folder: Folder) -> None:
    (folder.path / "a.yaml").unlink()
    await folder.reload.reload()
    assert folder.names() == []
    assert folder.holder.current.find("thermometer") is not None


async def test_a_second_file_of_the_same_name_is_not_used(folder: Folder) -> None:
    folder.write("b.yaml", FILE.format(name="a", kind="third"))
    with capture_logs() as logs:
        await folder.reload.reload()
    assert (folder.kinds_of("first"), folder.kinds_of("third")) == (["a"], [])
    assert any("a.yaml has the same name" in entry.get("error", "") for entry in logs)


async def test_a_folder_that_cannot_be_read_leaves_the_mappings(folder: Folder) -> None:
    (folder.path / "a.yaml").unlink()
    folder.path.rmdir()
    with capture_logs() as logs:
        await folder.reload.reload()
    assert folder.names() == ["a"]
    assert any("not read" in entry["event"] for entry in logs)


async def test_an_unchanged_folder_is_not_read_again(folder: Folder) -> None:
    before = folder.holder.current
    await folder.reload.reload()
    assert folder.holder.current is before


async def test_the_worker_watches_the_folder_until_it_is_stopped(folder: Folder) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(folder.reload.run(stop))
    folder.write("a.yaml", FILE.format(name="a", kind="second"))
    async with asyncio.timeout(60):
        while folder.kinds_of("second") != ["a"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
