"""The order of matches: by the values of the sort keys, then by id. Pure.

A match without a value of a key comes last, whatever the direction. Of several values the first in the
direction counts.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.services.paging import Position
from broker.services.result_parameters import SortKey
from broker.services.search import Fields
from broker.services.search_values import sort_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchOrder(Generic[T]):
    """An order of candidates; the field `_id` is the last key of each."""

    keys: tuple[SortKey, ...]
    fields: Fields[T]

    @property
    def length(self) -> int:
        """How many values a position has."""
        return len(self.keys) + 1

    def position(self, item: T) -> Position:
        """The sort values of the item and its id."""
        return (*(self._value(key, item) for key in self.keys), self.id_of(item))

    def id_of(self, item: T) -> str:
        return next(iter(self.fields["_id"].values(item))) or ""

    def compare(self, left: Position, right: Position) -> int:
        """Below 0 where `left` comes first, above 0 where `right` does, 0 for the same item."""
        directions = (*(key.is_descending for key in self.keys), False)
        for is_descending, left_value, right_value in zip(directions, left, right, strict=True):
            if left_value == right_value:
                continue
            if left_value is None or right_value is None:
                return 1 if left_value is None else -1
            return -1 if (left_value < right_value) is not is_descending else 1
        return 0

    def _value(self, key: SortKey, item: T) -> str | None:
        field = self.fields[key.code]
        texts = (
            sort_text(field.type, value, is_end=key.is_descending) for value in field.values(item) if value
        )
        values = [text for text in texts if text is not None]
        if not values:
            return None
        return max(values) if key.is_descending else min(values)
