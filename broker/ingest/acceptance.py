"""Turns the store's refusal of a change into the error that its producer receives."""

from broker.errors import (
    BrokerError,
    Conflict,
    Issue,
    NotFound,
    PreconditionFailed,
    StoreFull,
    Unprocessable,
)
from broker.ingest.requests import ChangeRequest
from broker.store.proposals import Acceptance, Accepted


class MatchChanged(BrokerError):  # noqa: N818 a state of the store, for intake to try again
    """The resource that the criteria or the patch of a request named changed before the request was
    written.
    """


def raise_if_refused(request: ChangeRequest, accepted: Accepted, expression: str = "") -> None:
    """Raises the error of a refused change; `MatchChanged` for one whose criteria or patch were
    resolved before.

    `expression` names its entry in a Bundle.
    """
    name = f"{request.type}/{request.id or accepted.key.id}"
    element = expression or None
    match accepted.status:
        case Acceptance.ABSENT if request.op == "event":
            raise Unprocessable(Issue("not-found", f"focus: {name} is not stored here", element or "focus"))
        case Acceptance.GONE if request.op == "event":
            raise Unprocessable(Issue("deleted", f"focus: {name} was deleted", element or "focus"))
        case Acceptance.CONFLICT if request.is_about_stored:
            raise MatchChanged(name)
        case Acceptance.CONFLICT:
            text = request.condition.failure(name, accepted.key.version)
            raise PreconditionFailed(Issue("conflict", text, element))
        case Acceptance.ABSENT:
            raise NotFound(Issue("not-found", f"{name} does not exist", element))
        case Acceptance.MISMATCH:
            text = f"the idempotency key was used for another request ({name}); use a new key"
            raise Unprocessable(Issue("business-rule", text, element))
        case Acceptance.FULL:
            raise StoreFull(
                "too many changes wait to be matched (BROKER_MAX_CHANGES); check that a matcher is running"
            )
        case Acceptance.EXISTS:
            raise Conflict(Issue("conflict", f"{name} exists already", element))
        case _:
            return
