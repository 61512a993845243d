"""Where the broker and HL7's validator differ, and why (`differences.tsv`)."""

import re
from pathlib import Path
from typing import NamedTuple


class Difference(NamedTuple):
    """Cases whose name matches the pattern, with the reason."""

    pattern: re.Pattern[str]
    reason: str


def read_differences() -> list[Difference]:
    lines = (Path(__file__).parent / "differences.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    return [Difference(re.compile(pattern), reason) for pattern, reason in rows]
