"""The code systems of channel types, and which codes R4 and R4B have for them (R-105, R-127).

R4 and R4B bind `channel.type` to five codes. Any other channel is a Coding in the extension
`backport-channel-type`, and `channel.type` is `rest-hook` beside it.
"""

from broker.model.subscription import ChannelType

STANDARD_SYSTEM = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
OWN_SYSTEM = "http://fhir-broker.org/channel-types"
STANDARD_CODES = frozenset({"rest-hook", "websocket", "email", "message"})
"""All codes of HL7's system."""
R4_CODES = STANDARD_CODES | {"sms"}
R4_PLACEHOLDER = "rest-hook"
"""The code of `channel.type` beside the extension."""


def system_of(channel_type: ChannelType) -> str:
    """The system as written; without one, HL7's for its codes and the broker's own for others."""
    return channel_type.system or (STANDARD_SYSTEM if channel_type.code in STANDARD_CODES else OWN_SYSTEM)


def systems_with(code: str) -> tuple[str, ...]:
    """The systems that have a code for the channel; the broker's own has one for each that it offers."""
    return (STANDARD_SYSTEM, OWN_SYSTEM) if code in STANDARD_CODES else (OWN_SYSTEM,)
