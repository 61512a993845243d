"""What a dead letter means in words, and what an operator does about it."""

from collections.abc import Mapping

from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter

_HAPPENED = {
    DeadLetterKind.CHANGE: "The change was accepted, but could not be matched. No subscriber was notified.",
    DeadLetterKind.EVENT: "The event could not be sent, and those behind it were. Its subscriber misses it.",
    DeadLetterKind.INBOX: "The entry of the inbox was refused. Nothing of it was accepted.",
    DeadLetterKind.READING: "The payload of a device did not become Observations, or not all of it did.",
}
_NEXT = {
    DeadLetterKind.CHANGE: "Correct the topic or filter that failed, then redrive: it is matched again.",
    DeadLetterKind.EVENT: "Correct what the reason names, then redrive: it is sent under its number.",
    DeadLetterKind.INBOX: "Have the gateway correct and send it again, then discard. Redrive only what the "
    "broker refused by mistake.",
    DeadLetterKind.READING: "Correct what the reason names, then redrive.",
}
_NEXT_OF_READING: Mapping[str, str] = {
    "no-mapping": "Add a mapping for the payload, try it (page Try a reading), then redrive.",
    "ambiguous-mapping": "Make the `match` of one of the mappings narrower, then redrive.",
    "unknown-unit": "Add the unit to the mapping, or correct the device, then redrive.",
    "unassociated": "Associate the device with the patient: the reading is then processed by itself.",
    "unknown-device": "Create the Device: the reading is then processed by itself.",
    "unknown-patient": "Create the Patient: the reading is then processed by itself.",
    "clock": "Set the clock of the device. If the time is right after all, relax BROKER_READING_CLOCK and "
    "redrive; else discard.",
}
_GONE = "What it is about is no longer stored: it can only be discarded."
_WAITING = "A redrive is under way: it disappears when the event is delivered."


def happened(dead_letter: DeadLetter) -> str:
    """What became of it."""
    return _HAPPENED[dead_letter.kind]


def next_step(dead_letter: DeadLetter) -> str:
    """What to do."""
    if not dead_letter.is_kept:
        return _GONE
    if dead_letter.is_waiting:
        return _WAITING
    slug = dead_letter.reason.partition(":")[0] if dead_letter.kind is DeadLetterKind.READING else ""
    return _NEXT_OF_READING.get(slug, _NEXT[dead_letter.kind])
