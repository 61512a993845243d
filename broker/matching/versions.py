"""The order of business versions of topics and value sets: `1.10` is newer than `1.9` (R-013)."""

import re

VersionOrder = tuple[tuple[int, int, str], ...]


def version_order(version: str | None) -> VersionOrder:
    """A sort key: numbers by value, words by letters; `1.0-beta` is before `1.0`, no version before every
    version.
    """
    if version is None:
        return ()
    core, dash, label = version.partition("-")
    return (*_parts(core), (-1, 0, label) if dash else (0, 0, ""))


def _parts(text: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|[A-Za-z]+", text)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
