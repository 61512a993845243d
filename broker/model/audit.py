"""The audit trail's neutral entry: who did what to which resources of which patients, and with what outcome.

An entry names things and holds no content: no body, no clinical value, no text that a client wrote. The store
chains entries (`store/audit_trail.py`), `fhir/audit_events.py` shows one as a FHIR AuditEvent.
"""

from enum import IntEnum, StrEnum
from typing import NamedTuple

from broker.model.change import Interaction

BROKER_AGENT = "fhir-broker"
"""The agent of what the broker does by itself. No client can have this id."""
UNKNOWN_AGENT = "unauthenticated"
"""The agent of a request without valid credentials. No client can have this id."""


class AuditAction(StrEnum):
    """What was done."""

    READ = "read"
    VREAD = "vread"
    HISTORY = "history"
    SEARCH = "search"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    OPERATION = "operation"
    REPORT = "report"  # a business event about a resource
    DELIVER = "deliver"  # one attempt to send a notification
    STREAM = "stream"  # a notification sent on a connection that the subscriber keeps open
    TOKEN = "token"  # noqa: S105 a token issued or refused
    AUTHENTICATE = "authenticate"
    REDRIVE = "redrive"
    DISCARD = "discard"
    ADMINISTER = "administer"
    ERASE = "erase"
    TRIM = "trim"  # retention removed the oldest entries of the trail
    START = "start"
    STOP = "stop"


ACTION_OF_INTERACTION = {
    Interaction.CREATE: AuditAction.CREATE,
    Interaction.UPDATE: AuditAction.UPDATE,
    Interaction.DELETE: AuditAction.DELETE,
}


class AuditOutcome(IntEnum):
    """The codes of AuditEvent.outcome."""

    SUCCESS = 0
    MINOR_FAILURE = 4  # refused, or failed and will be tried again
    SERIOUS_FAILURE = 8  # the broker failed, or cannot say what became of it


class AuditEntity(NamedTuple):
    """A resource, in a version unless that is 0. `patient` is the `Patient/id` that it is about, or ''."""

    type: str
    id: str
    version: int = 0
    patient: str = ""

    @property
    def reference(self) -> str:
        """`Type/id` or `Type/id/_history/version`."""
        return f"{self.type}/{self.id}" + (f"/_history/{self.version}" if self.version else "")

    @property
    def about(self) -> str:
        """The patient whose data this is: that of the entity, or the entity itself."""
        return f"Patient/{self.id}" if self.type == "Patient" else self.patient


class AuditEntry(NamedTuple):
    """One act. `agent` is the id of the client that acts or, for a delivery, receives.

    `address` is where the agent is: the network address of a client, the scheme, host and port of an
    endpoint. `detail` is a word or two of our own: the operation, the reason of a refusal, what follows.
    """

    action: AuditAction
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    agent: str = BROKER_AGENT
    address: str = ""
    detail: str = ""
    entities: tuple[AuditEntity, ...] = ()

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients whose data the act was about, each once."""
        return tuple(dict.fromkeys(entity.about for entity in self.entities if entity.about))


class ChainedEntry(NamedTuple):
    """An entry with its place in the trail of a tenant: sequence numbers start at 1 and have no gap."""

    sequence: int
    recorded_ms: int
    entry: AuditEntry


class ChainHead(NamedTuple):
    """A place in the chain: the number of an entry (0: before the first) and its digest, as hexadecimal."""

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


class ChainProblem(NamedTuple):
    """The first entry of a trail that is not as it was written, and what is wrong with it."""

    sequence: int
    text: str


class Requester(NamedTuple):
    """Who asks for a change, as its audit entry names it; an empty agent: it is not audited."""

    agent: str = ""
    address: str = ""


NOBODY = Requester()
