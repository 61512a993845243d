"""What became of the events of one notification whose resources are written one by one. Pure."""

from collections.abc import Sequence

from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import (
    Delivered,
    DeliveryOutcome,
    PartlyDelivered,
    Refused,
    UndeliverableEvent,
    Unreachable,
)

MAX_EXPLANATION_BYTES = 65_536


class WriteProgress:
    """`numbers` are those of the events, in order."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._accepted: set[int] = set()
        self._refused: dict[int, UndeliverableEvent] = {}

    def accept(self, number: int) -> None:
        """The event is done."""
        self._accepted.add(number)

    def refuse(self, number: int, reason: str, explanation: bytes = b"") -> None:
        """The event becomes a dead letter. An explanation that is too long is not kept."""
        if len(explanation) > MAX_EXPLANATION_BYTES:
            explanation = b""
        self._refused[number] = UndeliverableEvent(number, reason, explanation)

    def outcome(self, failure: Refused | Unreachable | None) -> DeliveryOutcome:
        """The outcome of the attempt, which `failure` ended, or which came to its end.

        Only the events up to the first undecided one count as decided: those behind it are written again.
        """
        decided = []
        for number in self._numbers:
            if number not in self._accepted and number not in self._refused:
                break
            decided.append(number)
        refused = tuple(self._refused[number] for number in decided if number in self._refused)
        if failure is not None and not decided:
            return failure
        if failure is None and not refused:
            return Delivered(f"{len(decided)} resources written")
        if failure is not None:
            error = failure.error
        else:
            error = ErrorReport(DeliveryError.ERROR_RESPONSE, f"the server refused {len(refused)} resources")
        return PartlyDelivered(decided[-1], len(decided) - len(refused), refused, error, failure)
