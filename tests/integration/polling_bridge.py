"""An EHR that pulls: it searches for what changed since its last poll, and keeps that moment in a file.

python -m tests.integration.polling_bridge FOLDER BROKER_BASE EHR_BASE
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from tests.integration.ehr_writer import EhrWriter, client_of, name_of

_log = logging.getLogger(__name__)
PAUSE_S = 0.1
PAGE = {"_count": "10", "_include": ["Observation:patient", "Observation:device"]}


class Moment:
    """A file with the moment that the last poll was about."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def query(self) -> dict[str, str]:
        return {"_lastUpdated": f"gt{self._path.read_text()}"} if self._path.exists() else {}

    def keep(self, moment: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(moment)
        new.replace(self._path)


async def poll(broker: httpx.AsyncClient, writer: EhrWriter, last: Moment) -> None:
    """One poll. The moment is kept when everything before it is written."""
    moment = ""
    async for page in pages(broker, PAGE | last.query):
        moment = moment or page["meta"]["lastUpdated"]
        entries = [(entry["search"]["mode"], entry["resource"]) for entry in page.get("entry", [])]
        others = {name_of(resource): resource for mode, resource in entries if mode == "include"}
        for mode, resource in entries:
            if mode == "match":
                await writer.put(resource, others)
    last.keep(moment)


async def pages(broker: httpx.AsyncClient, query: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    response = await broker.get("Observation", params=query)
    while True:
        page = response.raise_for_status().json()
        yield page
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return
        response = await broker.get(following[0])


async def main(folder: str, broker: str, ehr: str) -> None:
    client = client_of(broker)
    writer = EhrWriter(client, client_of(ehr))
    last = Moment(Path(folder) / "moment")
    while True:
        try:
            await poll(client, writer, last)
        except httpx.HTTPError as error:
            _log.warning("the poll is repeated: %s", error)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
