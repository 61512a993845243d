"""The folder of documents that the validator judges."""

import json
import re
from pathlib import Path
from typing import Any

_VOLATILE = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids
    r"|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)"
    r"|(?<=_history/)\d+"
)


class Collection:
    """Writes documents. A name that is taken gets a number: several of one kind may differ.

    Of documents that differ in ids, instants and versions only, the first is kept: the validator would say
    the same of each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._shapes: set[tuple[str, str]] = set()

    def add(self, release: str, name: str, body: bytes | str | dict[str, Any]) -> None:
        """Keeps a document; raises ValueError for one that is no JSON object."""
        resource = body if isinstance(body, dict) else json.loads(body)
        if not isinstance(resource, dict) or "resourceType" not in resource:
            raise ValueError(f"{release} {name} is no resource: {str(body)[:200]}")
        text = json.dumps(resource, ensure_ascii=False)
        shape = (release, _VOLATILE.sub("…", text))
        if shape in self._shapes:
            return
        self._shapes.add(shape)
        path = f"{release}/{name}"
        number = 2
        while path in self._names:
            path, number = f"{release}/{name}-{number}", number + 1
        self._names.add(path)
        target = self._folder / f"{path}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
