"""What an attempt came to, as metrics, spans and the log of attempts name it."""

from collections.abc import Mapping

from broker.model.attempt import AttemptOutcome
from broker.model.outcome import (
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    PartlyDelivered,
    Refused,
    Unreachable,
    Unrenderable,
)

ATTEMPT_OUTCOMES: Mapping[type[DeliveryOutcome], AttemptOutcome] = {
    Delivered: AttemptOutcome.DELIVERED,
    Refused: AttemptOutcome.REFUSED,
    Unreachable: AttemptOutcome.UNREACHABLE,
    EndpointGone: AttemptOutcome.GONE,
    Unrenderable: AttemptOutcome.UNRENDERABLE,
    PartlyDelivered: AttemptOutcome.PARTLY_DELIVERED,
}
