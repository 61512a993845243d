"""Why a request about one Subscription is refused: in the same words whichever operation it is."""

from broker.errors import Conflict, Gone, Issue, NotFound, PreconditionFailed
from broker.model.precondition import VersionCondition
from broker.store.subscriptions import Registration


def refuse_foreign(registration: Registration, subscription_id: str) -> None:
    """Raises `NotFound` where another client owns it."""
    if registration is Registration.FOREIGN:
        raise not_found(subscription_id)


def keeps_changing(subscription_id: str) -> Conflict:
    """The error after too many attempts."""
    text = f"Subscription/{subscription_id} keeps changing. Retry the request."
    return Conflict(Issue("conflict", text))


def not_found(subscription_id: str) -> NotFound:
    """The error for one that does not exist, or is not visible."""
    text = f"Subscription/{subscription_id} does not exist. Search Subscription for those that do."
    return NotFound(Issue("not-found", text))


def gone(subscription_id: str) -> Gone:
    """The error for one that was deleted."""
    text = f"Subscription/{subscription_id} was deleted. Register it again."
    return Gone(Issue("deleted", text))


def refuse_conflict(registration: Registration, version: int, condition: VersionCondition) -> None:
    """Raises `PreconditionFailed` where the stored version does not meet the condition."""
    if registration is Registration.CONFLICT:
        raise PreconditionFailed(Issue("conflict", condition.failure("The Subscription", version)))
