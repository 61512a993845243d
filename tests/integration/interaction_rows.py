"""The rows of the interaction table without a broker behind them, for tests that walk the table."""

from typing import Any
from unittest.mock import MagicMock

from broker.api.interactions import interaction_table

_handlers: Any = MagicMock()
ROWS = interaction_table(_handlers).rows


def concrete(path: str) -> str:
    """A path of a row with values for its variables."""
    return path.format(id="none", type="Observation", version="1", file="0")


def methods_of(path: str) -> set[str]:
    """The methods that rows offer for a path of the table."""
    return {row.method for row in ROWS if concrete(row.path) == path and not row.is_refusal}
