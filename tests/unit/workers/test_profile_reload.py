"""The folder of profiles is read again: all of it or nothing, and only if a file changed."""

from pathlib import Path
from typing import Any, cast

import orjson
import structlog.testing

from broker.model.release import Release
from broker.profiles.catalog import ProfileHolder
from broker.profiles.vital_signs import HL7
from broker.workers.profile_reload import ProfileReload
from tests.unit.profiles.catalogs import catalog_in, definition

URL = "http://example.org/StructureDefinition/seated"


class Reloading:
    """A process that uses the profiles of the folder; `loads` counts how often it read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holder = ProfileHolder(catalog_in(folder))
        self.loads = 0
        self._reload = ProfileReload(self.holder, folder, self._load, cast("Any", None))

    def _load(self) -> Any:
        self.loads += 1
        return catalog_in(self.folder)

    async def reload(self) -> list[str]:
        """The texts of what it logged."""
        with structlog.testing.capture_logs() as entries:
            await self._reload.reload()
        return [f"{entry['event']} {entry.get('error', '')}" for entry in entries]

    def is_known(self) -> bool:
        return self.holder.current.find(Release.R4, URL) is not None


async def test_profiles_that_cannot_be_read_leave_the_former_ones_in_force(tmp_path: Path) -> None:
    process = Reloading(tmp_path)
    assert not process.is_known()
    (tmp_path / "seated.json").write_bytes(orjson.dumps(definition(URL, f"{HL7}heartrate")))
    assert "profiles loaded" in "".join(await process.reload())
    assert process.is_known()

    (tmp_path / "broken.json").write_text("{")
    for _ in range(2):
        (entry,) = await process.reload()
        assert "they stay as they were" in entry
        assert "broken.json" in entry
        assert process.is_known()
    (tmp_path / "broken.json").unlink()
    (tmp_path / "seated.json").unlink()
    await process.reload()
    assert not process.is_known()


async def test_an_unchanged_folder_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "seated.json").write_bytes(orjson.dumps(definition(URL, f"{HL7}heartrate")))
    process = Reloading(tmp_path)
    assert await process.reload() == []
    assert process.loads == 0
    (tmp_path / "more").mkdir()
    await process.reload()
    assert process.loads == 1


async def test_a_folder_that_is_gone_leaves_the_profiles_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "seated.json").write_bytes(orjson.dumps(definition(URL, f"{HL7}heartrate")))
    process = Reloading(folder)
    (folder / "seated.json").unlink()
    folder.rmdir()
    (entry,) = await process.reload()
    assert "is not a directory" in entry
    assert process.is_known()
