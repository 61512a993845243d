"""Business versions of topics and value sets, in order: numbers by value, `1.10` after `1.9` (R-013)."""

import re

VersionOrder = tuple[tuple[int, int, str], ...]


def version_order(version: str | None) -> VersionOrder:
    """A sort key: words by letters, `1.0-beta` before `1.0`, none before any."""
    if version is None:
        return ()
    core, dash, label = version.partition("-")
    return (*_parts(core), (-1, 0, label) if dash else (0, 0, ""))


def _parts(text: str) -> list[tuple[int, int, str]]:
    return [(1, int(one), "") if one.isdigit() else (0, 0, one) for one in re.findall(r"\d+|[A-Za-z]+", text)]
