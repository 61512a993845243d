"""Which channels there are."""

from collections.abc import Mapping

from broker.channels.base import Channel
from broker.channels.rest_hook import RestHook
from broker.egress.client import EgressClient


def channels(egress: EgressClient) -> Mapping[str, Channel]:
    """Every channel by its channel-type code (R-105). `egress` must be open while they are used."""
    return {"rest-hook": RestHook(egress)}
