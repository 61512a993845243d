"""A subscription as the index of the matcher keeps it.

There are as many as there are subscriptions, and they live long. So the garbage collector passes over them
and what they are made of (decision 240).
"""

import msgspec

from broker.matching.matcher import Match
from broker.model.release import Release
from broker.model.search import Filter


class IndexedSubscription(msgspec.Struct, eq=False, gc=False):
    """One subscription in the index. Its match is created once.

    `filed_in` is the number of the index of its topic, or 0 after it was removed: an index that it referred
    to could not be freed, since the garbage collector does not look at it.
    """

    match: Match
    release: Release
    filters: tuple[Filter, ...]
    filed_in: int = 0


MatchedSubscriptions = dict[IndexedSubscription, None]
"""An ordered set."""
