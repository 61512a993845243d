"""The members of the sorted sets of dead events: `<number> <ms> <reason>`, and behind a NUL what the receiver
sent about the event, packed as resources are (`bodies.py`) and in Base64.

The scripts take a text as it is. It is bound to the subscription and the number of the event.
"""

from base64 import b64decode, b64encode
from typing import NamedTuple

from broker.model.outcome import UndeliverableEvent
from broker.model.subscription import SubscriptionKey
from broker.store.bodies import Bodies

_SEPARATOR = "\0"


class DeadEvent(NamedTuple):
    """A member. `packed` is b'' if the receiver sent nothing about the event."""

    number: int
    at_ms: int
    reason: str
    packed: bytes

    @classmethod
    def parse(cls, member: bytes) -> "DeadEvent":
        head, _, packed = member.decode(errors="replace").partition(_SEPARATOR)
        number, at_ms, reason = head.split(" ", 2)
        return cls(int(number), int(at_ms), reason, b64decode(packed))

    def with_packed(self, packed: bytes) -> str:
        """The member with another packed text."""
        return f"{self.number} {self.at_ms} {_text(self.reason, packed)}"


class DeadEventTexts:
    """Packs and unpacks."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    async def pack(self, subscription: SubscriptionKey, events: tuple[UndeliverableEvent, ...]) -> list[str]:
        """What a member has behind the time, for each event."""
        if not any(event.explanation for event in events):
            return [_text(event.reason, b"") for event in events]
        key_id = await self._bodies.sealing_key()
        tenant = subscription[0]
        return [
            _text(
                event.reason,
                self._bodies.pack(event.explanation, tenant, place(subscription, event.number), key_id)
                if event.explanation
                else b"",
            )
            for event in events
        ]

    def explanation(self, subscription: SubscriptionKey, event: DeadEvent) -> bytes:
        """What the receiver sent. Raises what `Bodies.unpack` raises."""
        if not event.packed:
            return b""
        return self._bodies.unpack(event.packed, subscription[0], place(subscription, event.number))


def place(subscription: SubscriptionKey, number: int) -> str:
    """What a text is bound to."""
    return f"Subscription/{subscription[1]}/dead-letter/{number}"


def _text(reason: str, packed: bytes) -> str:
    reason = reason.replace(_SEPARATOR, " ")
    return f"{reason}{_SEPARATOR}{b64encode(packed).decode()}" if packed else reason
