"""The attempts to send the notifications of a Subscription: what was sent, what was answered, and sending it
again.
"""

from broker.console.page import Answer, PageRequest, View
from broker.console.reading import event_number
from broker.delivery.attempt_audit import sent_entities
from broker.model import json_text
from broker.model.audit import AuditEntity
from broker.model.subscription import PayloadContent
from broker.services.attempts import AttemptFilter, AttemptService

PAGE = 50


class AttemptPages:
    """The rows for `/subscriptions/{id}/attempts`."""

    def __init__(self, attempts: AttemptService) -> None:
        self._attempts = attempts

    async def search(self, request: PageRequest) -> Answer:
        """The newest attempts, or those before one of them; all, those that failed, or those
        of an event.
        """
        subscription_id, only_failed = request.params["id"], bool(request.query.get("failed"))
        event = event_number(request.query, "event")
        page = await self._attempts.page(
            request.principal,
            subscription_id,
            AttemptFilter(only_failed=only_failed, event=event),
            before=request.query.get("before", ""),
            count=PAGE,
        )
        values = {
            "id": subscription_id,
            "attempts": page.attempts,
            "only_failed": only_failed,
            "event": event,
            "next": page.next,
        }
        return View("attempts.html", values, accessed=[AuditEntity("Subscription", subscription_id)])

    async def show(self, request: PageRequest) -> Answer:
        """One attempt with its request and response, as far as they are stored and may be seen."""
        subscription_id = request.params["id"]
        details = await self._attempts.details(request.principal, subscription_id, request.params["attempt"])
        text = details.text
        values = {
            "id": subscription_id,
            "attempt": details.attempt,
            "hidden": details.hidden,
            "body": None if text is None else _readable(text.body),
            "answer": None if text is None else text.answer.decode(errors="replace"),
        }
        accessed = [
            AuditEntity("Subscription", subscription_id),
            *sent_entities(tuple(details.events), PayloadContent.FULL_RESOURCE),
        ]
        return View("attempt.html", values, accessed=accessed)


def _readable(body: bytes) -> str:
    """The body with line breaks where it is JSON; its beginning alone may not be."""
    try:
        return json_text.indented(body).decode()
    except ValueError:
        return body.decode(errors="replace")
