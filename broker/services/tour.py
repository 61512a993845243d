"""The guided tour of the console: eight steps from a topic to a replay, on a stage that somebody else builds.

The demo builds one: it has a subscriber whose endpoint can be broken and mended, and a gateway. A broker
without a stage has no tour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class TourStep(StrEnum):
    """The steps, in their order."""

    TOPIC = "topic"
    SUBSCRIBE = "subscribe"
    HANDSHAKE = "handshake"
    EVENT = "event"
    FAILURE = "failure"
    RECOVERY = "recovery"
    REPLAY = "replay"
    END = "end"


@dataclass(frozen=True, slots=True)
class TourFacts:
    """What a step has come to. `facts` are names and values; `document` is what was sent or received, as
    text. `is_open`: the steps before it are done, so that it can be done.
    """

    is_done: bool
    is_open: bool
    facts: Sequence[tuple[str, str]] = ()
    document: str = ""


class TourStage(Protocol):
    """Does what the steps ask for, and says what came of it. Both raise `RequestError` with the reason of a
    broker that refuses.
    """

    @property
    def is_ready(self) -> bool:
        """Whether the stage is built."""

    @property
    def subscription_id(self) -> str:
        """The Subscription of the tour; '' before there is one."""

    async def facts(self, step: TourStep) -> TourFacts: ...

    async def perform(self, step: TourStep) -> None:
        """Does the step, and waits for a moment for its effect."""
