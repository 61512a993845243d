"""Builds the channels a process can deliver by, and opens the clients they share."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from broker.channels.base import Channel, opened
from broker.channels.registry import channels
from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.smtp import Mailer, relay_of
from broker.settings import Settings


@contextlib.asynccontextmanager
async def open_channels(settings: Settings) -> AsyncIterator[Mapping[str, Channel]]:
    """The channels by their channel-type code; usable until the way out."""
    mailer = Mailer(relay_of(settings.smtp_url, settings.smtp_from)) if settings.smtp_url else None
    async with EgressClient(Allowance(settings.egress_allow)) as egress:
        by_code = channels(egress.post, egress.allowance, mailer, settings.base_url)
        async with opened(by_code):
            yield by_code
