"""Verdicts of HL7's validator about the alterations; `python -m tests.validation --record` writes them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

RECORDED = Path(__file__).parent / "hl7_verdicts.tsv"


def write_verdicts(names: Sequence[str], refused: Collection[str]) -> None:
    lines = [f"{name}\t{'refused' if name in refused else 'accepted'}" for name in names]
    RECORDED.write_text("\n".join(["alteration\tverdict", *lines]) + "\n")


def read_verdicts() -> Mapping[str, bool]:
    """Name -> whether HL7's validator refuses it."""
    rows = [line.split("\t") for line in RECORDED.read_text().splitlines()[1:]]
    return {name: verdict == "refused" for name, verdict in rows}
