"""What people do to one Subscription: each action has a page that says what will happen, and its form.

The services are those of the API, so an action does the same, is allowed to the same and is audited the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.console.page import Answer, PageRequest, SeeOther, View
from broker.console.reading import event_number
from broker.errors import Issue, NotFound
from broker.model.audit import AuditEntity
from broker.model.release import Release
from broker.model.subscription import SubscriptionStatus
from broker.services.delivery_control import DeliveryControl
from broker.services.events import EventRange, EventService
from broker.services.signing_secrets import SigningSecretService
from broker.services.subscriptions import SubscriptionService


@dataclass(frozen=True, slots=True)
class _Action:
    """What its page says: a title, what happens, and the word on the button."""

    title: str
    text: str
    button: str


ACTIONS: Mapping[str, _Action] = {
    "pause": _Action(
        "Pause",
        "Nothing is sent any more, and changes that happen meanwhile are no events of this Subscription. "
        "It starts again when it is activated.",
        "Pause it",
    ),
    "activate": _Action(
        "Activate",
        "The broker sends a handshake to the endpoint now. When the receiver accepts it, the Subscription is "
        "active, and events that wait are sent.",
        "Activate it",
    ),
    "retry": _Action(
        "Retry now",
        "The notification that failed is sent now, the same bytes again, instead of at its scheduled time.",
        "Retry now",
    ),
    "send-test": _Action(
        "Send a test",
        "A heartbeat is sent to the endpoint now, and you see the answer. Nothing else changes: no event, no "
        "status, no count of attempts.",
        "Send a heartbeat",
    ),
    "rotate-secret": _Action(
        "Rotate the signing secret",
        "A new secret signs the notifications from now on. It is shown once. The secret before it signs too "
        "for a while (BROKER_SECRET_OVERLAP), so that the receiver can change.",
        "Make a new secret",
    ),
    "resend": _Action(
        "Send a range again",
        "Events that were delivered are sent once more under their numbers. The receiver gets each a second "
        "time.",
        "Send again",
    ),
}


class SubscriptionActionPages:
    """The rows for what is done to one Subscription."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        delivery: DeliveryControl,
        signing: SigningSecretService,
        events: EventService,
    ) -> None:
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._signing = signing
        self._events = events

    async def confirm(self, request: PageRequest) -> Answer:
        """What the action will do, and its form."""
        name = request.params["action"]
        action = ACTIONS.get(name)
        if action is None:
            text = f"There is no action {name!r}. Go back to the Subscription."
            raise NotFound(Issue("not-found", text))
        record = await self._subscriptions.get(request.principal, request.params["id"])
        subscription = record.subscription
        values = {
            "name": name,
            "action": action,
            "subscription": subscription,
            "record": record,
            "first": request.query.get("first", ""),
            "last": request.query.get("last", ""),
        }
        accessed = [AuditEntity("Subscription", subscription.id, subscription.version)]
        return View("subscription_action.html", values, accessed=accessed)

    async def pause(self, request: PageRequest) -> Answer:
        registered = await self._delivery.pause(
            request.principal, request.params["id"], requester=request.requester
        )
        notice = f"It is {registered.subscription.status} now. Activate it to start it again."
        return _done(request, "pause", notice)

    async def activate(self, request: PageRequest) -> Answer:
        registered = await self._delivery.activate(
            request.principal, request.params["id"], requester=request.requester
        )
        if registered.subscription.status is SubscriptionStatus.REQUESTED:
            notice = "It is requested, and the handshake is sent now. Below you see whether it is accepted."
        else:
            notice = f"It is {registered.subscription.status} now."
        return _done(request, "activate", notice)

    async def retry(self, request: PageRequest) -> Answer:
        report = await self._delivery.retry(request.principal, request.params["id"])
        after = " Below you see what the receiver answers." if report.is_retried else ""
        return _done(request, "retry", f"{report.reason}{after}")

    async def send_test(self, request: PageRequest) -> Answer:
        report = await self._delivery.send_test(request.principal, request.params["id"])
        took = f"after {report.duration_ms} ms"
        if report.is_delivered:
            notice = f"The receiver accepted the heartbeat {took}. Events reach it too."
        else:
            notice = f"The heartbeat failed {took}: {report.reason}. Correct the cause, then send another."
        return _done(request, "send-test", notice)

    async def rotate_secret(self, request: PageRequest) -> Answer:
        """The secret is in this answer only: no page shows it again."""
        subscription_id = request.params["id"]
        rotated = await self._signing.rotate(
            request.principal, subscription_id, ends_previous=bool(request.form.get("end-previous"))
        )
        values = {"id": subscription_id, "rotated": rotated}
        accessed = [AuditEntity("Subscription", subscription_id)]
        return View("subscription_secret.html", values, accessed=accessed, detail="rotate-secret")

    async def resend(self, request: PageRequest) -> Answer:
        wanted = EventRange(event_number(request.form, "first"), event_number(request.form, "last"))
        report = await self._events.resend(request.principal, Release.R5, request.params["id"], wanted)
        return _done(request, "resend", " ".join(issue.text for issue in report.issues))


def _done(request: PageRequest, detail: str, notice: str) -> SeeOther:
    subscription_id = request.params["id"]
    accessed = [AuditEntity("Subscription", subscription_id)]
    return SeeOther(f"/subscriptions/{subscription_id}", notice, accessed, detail)
