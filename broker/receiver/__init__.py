"""What a subscriber needs to receive notifications from any broker: each event once, in order, and none
missed unnoticed.

`NotificationMiddleware` puts an endpoint into an ASGI application. It verifies signatures, passes repeated
events over, detects gaps in the event numbers, and fetches what is missing with `$events`. A `Ledger` file
remembers the progress across restarts. No part of the server is imported.
"""

from broker.receiver.catch_up import CatchUp, CatchUpFailed
from broker.receiver.events import Event, Gap
from broker.receiver.ledger import Ledger, LedgerInUse, LedgerUnusable, ReceiverError
from broker.receiver.middleware import NotificationMiddleware
from broker.receiver.receiver import Answer, Receiver

__all__ = [
    "Answer",
    "CatchUp",
    "CatchUpFailed",
    "Event",
    "Gap",
    "Ledger",
    "LedgerInUse",
    "LedgerUnusable",
    "NotificationMiddleware",
    "Receiver",
    "ReceiverError",
]
