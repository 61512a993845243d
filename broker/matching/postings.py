"""The tree of postings that finds candidates: subscriptions filed by what a focus must have for them to
match.

A `PostingNode` files each of its subscriptions once: under the keys of its most selective predicate, else
under a threshold, else in the rest, which is examined for every focus. A posting list that grows becomes a
node of its own, which files by the remaining filters. So a subscription is evaluated only for the filters
that its place in the tree does not decide, and subscriptions with the same remaining filters are evaluated
together.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import product
from typing import ClassVar, Protocol, TypeVar

import msgspec

from broker.matching.indexed_subscription import IndexedSubscription, MatchedSubscriptions
from broker.matching.keys import ExtractedKeys
from broker.matching.lookups import LookupChannel, Predicate
from broker.matching.planner import LookupPlanner
from broker.matching.predicates import Bound, Extreme, LookupKey, Threshold, Unit
from broker.matching.readers import ExtractedExtremes
from broker.model.search import Filter

SPLIT_SIZE = 8
"""A posting list with this many subscriptions becomes a node when the next one is added."""

_Mark = tuple[Bound, int]
"""A threshold as it is sorted."""


class FocusEvaluation(Protocol):
    """The values of a focus, and whether it passes the remaining filters."""

    def keys(self, channel: LookupChannel) -> ExtractedKeys: ...

    def extremes(self, channel: LookupChannel, unit: Unit) -> ExtractedExtremes: ...

    def passes(self, remaining: tuple[Filter, ...], subscriptions: Iterable[IndexedSubscription]) -> bool: ...


class SinglePosting(msgspec.Struct, eq=False, gc=False):
    """A posting with one subscription, which is the most frequent kind."""

    subscription: IndexedSubscription
    remaining: tuple[Filter, ...]
    size: ClassVar[int] = 1

    def find(self, focus: FocusEvaluation, matched: MatchedSubscriptions) -> None:
        if not self.remaining or focus.passes(self.remaining, (self.subscription,)):
            matched[self.subscription] = None


class PostingList:
    """A posting with a few subscriptions, or any number that can't be divided, grouped by their remaining
    filters.
    """

    __slots__ = ("groups", "size")

    def __init__(self) -> None:
        self.groups: dict[tuple[Filter, ...], MatchedSubscriptions] = {}
        self.size = 0

    def add(self, subscription: IndexedSubscription, remaining: tuple[Filter, ...]) -> None:
        self.groups.setdefault(remaining, {})[subscription] = None
        self.size += 1

    def remove(self, subscription: IndexedSubscription, remaining: tuple[Filter, ...]) -> bool:
        group = self.groups.get(remaining)
        if group is None or subscription not in group:
            return False
        del group[subscription]
        if not group:
            del self.groups[remaining]
        self.size -= 1
        return True

    def members(self) -> Iterator[tuple[IndexedSubscription, tuple[Filter, ...]]]:
        return (
            (subscription, remaining) for remaining, group in self.groups.items() for subscription in group
        )

    def find(self, focus: FocusEvaluation, matched: MatchedSubscriptions) -> None:
        for remaining, group in self.groups.items():
            if not remaining or focus.passes(remaining, group):
                matched.update(group)


class PostingNode:
    """A divided posting. `used` has the channels by which its subscriptions came here."""

    __slots__ = ("by_key", "by_threshold", "planner", "rest", "size", "used")

    def __init__(self, planner: LookupPlanner, used: frozenset[LookupChannel] = frozenset()) -> None:
        self.planner = planner
        self.used = used
        self.size = 0
        self.by_key: dict[LookupChannel, dict[LookupKey, Posting]] = {}
        self.by_threshold: dict[tuple[LookupChannel, Unit], dict[Extreme, ThresholdPostings]] = {}
        self.rest = PostingList()

    def add(
        self,
        subscription: IndexedSubscription,
        remaining: tuple[Filter, ...],
        predicates: list[Predicate] | None = None,
    ) -> None:
        """`predicates` are those of the remaining filters; the node computes them if they are not given."""
        self.size += 1
        chosen = self._choose(self.planner.predicates(remaining) if predicates is None else predicates)
        if chosen is None:
            self.rest.add(subscription, remaining)
            return
        remaining = _without(remaining, chosen)
        parent = self, chosen.channel
        if chosen.threshold is not None:
            postings = self._threshold_postings(chosen.channel, chosen.threshold)
            postings.add(chosen.threshold, subscription, remaining, parent)
            return
        by_key = self.by_key.setdefault(chosen.channel, {})
        for key in chosen.keys:
            posting = by_key.get(key)
            by_key[key] = (
                SinglePosting(subscription, remaining)
                if posting is None
                else _with(posting, subscription, remaining, parent)
            )

    def remove(
        self,
        subscription: IndexedSubscription,
        remaining: tuple[Filter, ...],
        predicates: list[Predicate] | None = None,
    ) -> bool:
        """Whether the subscription was here. Searches every posting in which it can be."""
        for predicate in self.planner.predicates(remaining) if predicates is None else predicates:
            if predicate.channel not in self.used and self._remove_filed(
                predicate, subscription, _without(remaining, predicate)
            ):
                self.size -= 1
                return True
        if self.rest.remove(subscription, remaining):
            self.size -= 1
            return True
        return False

    def take_apart(self) -> Iterator[None]:
        """Removes one posting in a step."""
        for by_key in self.by_key.values():
            yield from _take_apart(by_key)
        for by_extreme in self.by_threshold.values():
            for postings in by_extreme.values():
                yield from _take_apart(postings.postings)
        while self.rest.groups:
            self.rest.groups.popitem()
            yield

    def find(self, focus: FocusEvaluation, matched: MatchedSubscriptions) -> None:
        """Adds the subscriptions whose filters the focus passes."""
        for channel, by_key in self.by_key.items():
            extracted = focus.keys(channel)
            for key in extracted.keys:
                posting = by_key.get(key)
                if posting is not None:
                    posting.find(focus, matched)
            if extracted.codes_without_system:
                for key in product(channel.systems, extracted.codes_without_system):
                    posting = by_key.get(key)
                    if posting is not None:
                        posting.find(focus, matched)
        if self.by_threshold:
            self._find_by_threshold(focus, matched)
        if self.rest.size:
            self.rest.find(focus, matched)

    def _find_by_threshold(self, focus: FocusEvaluation, matched: MatchedSubscriptions) -> None:
        for (channel, unit), by_extreme in self.by_threshold.items():
            extremes = focus.extremes(channel, unit).extremes
            if extremes is not None:
                for extreme, postings in by_extreme.items():
                    for posting in postings.passed(extreme, extremes[extreme]):
                        posting.find(focus, matched)

    def _choose(self, predicates: list[Predicate]) -> Predicate | None:
        """Keys before thresholds. Among keys, the predicate with the lowest cost: how many foci are expected
        to have such a key, times how many subscriptions are filed under it.
        """
        best: Predicate | None = None
        lowest = 0
        for predicate in predicates:
            if predicate.channel in self.used:
                continue
            cost = predicate.channel.cost * (1 + self._filed_under(predicate))
            if predicate.threshold is not None:
                cost = 1 << 60
            if best is None or cost < lowest:
                best, lowest = predicate, cost
        return best

    def _filed_under(self, predicate: Predicate) -> int:
        by_key = self.by_key.get(predicate.channel)
        if by_key is None:
            return 0
        return sum(by_key[key].size for key in predicate.keys if key in by_key)

    def _threshold_postings(self, channel: LookupChannel, threshold: Threshold) -> "ThresholdPostings":
        by_extreme = self.by_threshold.setdefault((channel, threshold.unit), {})
        return by_extreme.setdefault(threshold.extreme, ThresholdPostings())

    def _remove_filed(
        self, predicate: Predicate, subscription: IndexedSubscription, remaining: tuple[Filter, ...]
    ) -> bool:
        threshold = predicate.threshold
        if threshold is not None:
            channel_key = predicate.channel, threshold.unit
            by_extreme = self.by_threshold.get(channel_key, {})
            postings = by_extreme.get(threshold.extreme)
            if postings is None or not postings.remove(threshold, subscription, remaining):
                return False
            if not postings.marks:
                del by_extreme[threshold.extreme]
            if not by_extreme:
                del self.by_threshold[channel_key]
            return True
        by_key = self.by_key.get(predicate.channel)
        if by_key is None:
            return False
        removed = [_remove_from(by_key, key, subscription, remaining) for key in predicate.keys]
        if not by_key:
            del self.by_key[predicate.channel]
        return any(removed)


class ThresholdPostings:
    """Postings sorted by threshold, so that those whose threshold is passed are a run at one end."""

    __slots__ = ("marks", "postings")

    def __init__(self) -> None:
        self.marks: list[_Mark] = []
        self.postings: dict[_Mark, Posting] = {}

    def add(
        self,
        threshold: Threshold,
        subscription: IndexedSubscription,
        remaining: tuple[Filter, ...],
        parent: "_Parent",
    ) -> None:
        mark = _mark(threshold)
        posting = self.postings.get(mark)
        if posting is None:
            insort(self.marks, mark)
            self.postings[mark] = SinglePosting(subscription, remaining)
        else:
            self.postings[mark] = _with(posting, subscription, remaining, parent)

    def remove(
        self, threshold: Threshold, subscription: IndexedSubscription, remaining: tuple[Filter, ...]
    ) -> bool:
        mark = _mark(threshold)
        if not _remove_from(self.postings, mark, subscription, remaining):
            return False
        if mark not in self.postings:
            del self.marks[bisect_left(self.marks, mark)]
        return True

    def passed(self, extreme: Extreme, value: Bound) -> Iterator["Posting"]:
        marks = self.marks
        if extreme.is_max:
            run = marks[: bisect_left(marks, (value, 1))]
        else:
            run = marks[bisect_right(marks, (value, 0)) :]
        return (self.postings[mark] for mark in run)


Posting = SinglePosting | PostingList | PostingNode
_Parent = tuple[PostingNode, LookupChannel]
"""The node that a posting is in, and the channel under which it is filed there."""
_K = TypeVar("_K")


def _take_apart(postings: dict[_K, Posting]) -> Iterator[None]:
    while postings:
        _, posting = postings.popitem()
        if isinstance(posting, PostingNode):
            yield from posting.take_apart()
        yield


def _mark(threshold: Threshold) -> _Mark:
    """A threshold that is not strict sorts towards the end from which it is passed."""
    return threshold.bound, int(threshold.is_strict is threshold.extreme.is_max)


def _without(remaining: tuple[Filter, ...], chosen: Predicate) -> tuple[Filter, ...]:
    """The filters that are left to evaluate below the posting."""
    if not chosen.is_exact:
        return remaining
    return tuple(
        filter_ for filter_ in remaining if filter_ is not chosen.filter and filter_ != chosen.filter
    )


def _with(
    posting: Posting, subscription: IndexedSubscription, remaining: tuple[Filter, ...], parent: _Parent
) -> Posting:
    """The posting with one more subscription, divided if it has grown."""
    if isinstance(posting, SinglePosting):
        posting_list = PostingList()
        posting_list.add(posting.subscription, posting.remaining)
        posting = posting_list
    elif isinstance(posting, PostingList) and posting.size >= SPLIT_SIZE and remaining:
        node, channel = parent
        divided = PostingNode(node.planner, node.used | {channel})
        for member in posting.members():
            divided.add(*member)
        posting = divided
    posting.add(subscription, remaining)
    return posting


def _remove_from(
    postings: dict[_K, Posting], key: _K, subscription: IndexedSubscription, remaining: tuple[Filter, ...]
) -> bool:
    posting = postings.get(key)
    if isinstance(posting, SinglePosting):
        if posting.subscription is not subscription:
            return False
        del postings[key]
        return True
    if posting is None or not posting.remove(subscription, remaining):
        return False
    if not posting.size:
        del postings[key]
    return True
