"""Loads the scripts into a server and spells the command that runs one."""

import hashlib

import redis.asyncio as redis

from broker.store.protocol import Command, ScriptCall
from broker.store.scripts.source import NAMES, source_of


class ScriptLoader:
    """The sources of all scripts and their digests."""

    def __init__(self) -> None:
        self._sources = {name: source_of(name) for name in NAMES}
        self._digests = {
            name: hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            for name, source in self._sources.items()
        }

    async def load(self, node: redis.Redis) -> None:
        async with node.pipeline(transaction=False) as pipeline:
            for source in self._sources.values():
                pipeline.script_load(source)
            await pipeline.execute()

    def command(self, call: ScriptCall) -> Command:
        return ("EVALSHA", self._digests[call.script], len(call.keys), *call.keys, *call.arguments)
