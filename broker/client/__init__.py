"""What a program needs to send readings and FHIR resources to a broker.

`Producer` and `AsyncProducer` repeat requests until the broker has settled them, and keep what cannot be sent
yet in a file. `BackendServices` gets access tokens, from any server of SMART Backend Services; it is imported
when it is used, since it needs a cryptographic library. No part of the server is imported.
"""

from typing import TYPE_CHECKING, Any

from broker.client.answer import Answer, RetryPolicy, Verdict
from broker.client.async_producer import AsyncProducer
from broker.client.buffer import OfflineBuffer
from broker.client.errors import BufferFull, BufferInUse, BufferUnusable, ClientError, NotSent
from broker.client.message import Message, reading, resource
from broker.client.outbox import Progress
from broker.client.producer import Producer

if TYPE_CHECKING:
    from broker.client.backend_services import BackendServices

__all__ = [
    "Answer",
    "AsyncProducer",
    "BackendServices",
    "BufferFull",
    "BufferInUse",
    "BufferUnusable",
    "ClientError",
    "Message",
    "NotSent",
    "OfflineBuffer",
    "Producer",
    "Progress",
    "RetryPolicy",
    "Verdict",
    "reading",
    "resource",
]


def __getattr__(name: str) -> Any:
    if name == "BackendServices":
        from broker.client.backend_services import BackendServices  # noqa: PLC0415

        return BackendServices
    raise AttributeError(name)
