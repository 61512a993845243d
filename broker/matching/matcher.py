"""The interface of matchers: one change in, the subscriptions that it is an event of out.

`index.IndexedMatcher` serves; `naive.NaiveMatcher` is the oracle that defines what is right. Nothing crosses
tenants: a change matches only subscriptions of its own tenant.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from broker.matching.problems import Problem
from broker.matching.states import NOTHING_RELATED, Related, Target
from broker.model.change import Change, Tenant
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic


class Match(msgspec.Struct, frozen=True, gc=False):
    """A change is an event of this subscription."""

    tenant: Tenant
    subscription_id: SubscriptionId
    topic_canonical: str


class Matcher(Protocol):
    """Keeps subscriptions, and matches changes against them."""

    def put(self, subscription: Subscription, topic: Topic) -> None:
        """Adds the subscription, or replaces the one with its tenant and id."""
        ...

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        """Ignores an unknown subscription."""
        ...

    def set_topic(self, topic: Topic) -> None:
        """The topic has new content. Its subscriptions may keep to the old content until `refile` is done.

        Ignores a topic without subscriptions.
        """
        ...

    def refile(self) -> bool:
        """Moves one subscription to the new content of its topic, or forgets a piece of the old one. False
        when nothing is left to do.
        """
        ...

    def recompile(self) -> None:
        """The value sets were loaded again: whether a filter can be evaluated is decided once more."""
        ...

    def prepare(self, change: Change) -> Iterator[None]:
        """The steps that build what `needs` and `match` of the change look up. Most changes need none, and
        without them `match` takes all of them at once.
        """
        ...

    def needs(self, change: Change) -> frozenset[Target]:
        """The resources that chained filters refer to. Empty, at no cost, if no subscription has any. Never
        raises.
        """
        ...

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        """`related` holds the current versions of what `needs` named, as far as they are stored in the
        change's tenant.

        The order is undefined. Raises msgspec.DecodeError for a body that is not a JSON object, and nothing
        else.
        """
        ...

    def drain_problems(self) -> list[Problem]:
        """The problems since the last call, at most the newest `MAX_PROBLEMS`."""
        ...
