"""Lookup channels, and the predicates of subscriptions in them."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from broker.matching.predicates import LookupKey, PredicateKind, Threshold
from broker.matching.readers import Reader
from broker.model.release import Release
from broker.model.search import Filter


class LookupChannel:
    """One parameter (or component of a composite) by which subscriptions are looked up. Compared by identity.

    `readers` has the reader of each release of the focus, None for a release without the parameter. `systems`
    counts the systems of all keys in the channel, because a code without a system may match any of them.
    """

    __slots__ = ("cost", "name", "readers", "systems")

    def __init__(self, name: str, kind: PredicateKind, readers: dict[Release, Reader | None]) -> None:
        self.name = name
        self.cost = int(kind)
        self.readers = readers
        self.systems: Counter[str] = Counter()


class Predicate(NamedTuple):
    """A filter that can be looked up in a channel, by any of the keys or by the threshold."""

    channel: LookupChannel
    filter: Filter
    is_exact: bool
    keys: tuple[LookupKey, ...]
    threshold: Threshold | None


def count_systems(predicates: Iterable[Predicate], by: int) -> None:
    """Updates the systems of the channels: by 1 for a subscription that is added, by -1 for one that is
    removed.
    """
    for predicate in predicates:
        systems = predicate.channel.systems
        for key in predicate.keys:
            if isinstance(key, tuple):
                systems[key[0]] += by
                if systems[key[0]] <= 0:
                    del systems[key[0]]
