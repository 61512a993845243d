"""The names of the outcomes of an attempt, in metrics and spans."""

from collections.abc import Mapping

from broker.model.outcome import (
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    PartlyDelivered,
    Refused,
    Unreachable,
    Unrenderable,
)

OUTCOME_NAMES: Mapping[type[DeliveryOutcome], str] = {
    Delivered: "delivered",
    Refused: "refused",
    Unreachable: "unreachable",
    EndpointGone: "gone",
    Unrenderable: "unrenderable",
    PartlyDelivered: "partly-delivered",
}
