"""A subscription as the index of the matcher keeps it."""

from broker.matching.matcher import Match
from broker.model.release import Release
from broker.model.search import Filter


class IndexedSubscription:
    """One subscription in the index. Its match is created once.

    `filed_in` is the index of its topic, or None after it was removed.
    """

    __slots__ = ("filed_in", "filters", "match", "release")

    def __init__(self, match: Match, release: Release, filters: tuple[Filter, ...]) -> None:
        self.match = match
        self.release = release
        self.filters = filters
        self.filed_in: object = None


MatchedSubscriptions = dict[IndexedSubscription, None]
"""An ordered set."""
