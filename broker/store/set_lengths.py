"""The migration to schema 8: the head of each resource's string says how long its list of search sets is.

The list is empty after it: `fhir-broker search reindex` fills it.
"""

import re

from broker.store.protocol import Command, ScanPlace, Store
from broker.store.scripts import intake

_PATTERN = "{p*}:resource:*"
_OLD_HEAD = re.compile(rb"\d+ \S+ [a-z]+ \d+ \S+ \d+ \d+(?=\n)")


async def add_set_lengths(store: Store) -> None:
    """Of every version of every resource."""
    place: ScanPlace | None = ScanPlace()
    while place is not None:
        place, names = await store.scan_keys(_PATTERN, place)
        wanted = [name for name in names if not name.endswith(b":event")]
        commands: list[Command] = [("GET", name) for name in wanted]
        for name, content in zip(wanted, await store.send(commands) if commands else (), strict=True):
            head = _OLD_HEAD.match(content or b"")
            if content is not None and head is not None:
                after = head[0] + b" 0" + content[head.end() :]
                await intake.replace_resource(store, name.decode(), content, after)
