"""The email channel (R-330..R-334): one mail a notification, with a readable text and, on request, the Bundle
attached.

Mail is not a secure channel: its payload is `id-only` at most, and the text says no more than the content
level allows.
"""

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import assert_never

from broker.channels.base import SendRequest, StatelessChannel
from broker.egress.smtp import MailAccepted, MailRefused, RelayUnreachable, SendMail
from broker.errors import Issue
from broker.model.notification import DeliveryError, ErrorReport, Notification, NotificationType
from broker.model.outcome import Delivered, DeliveryOutcome, Refused, Unreachable
from broker.model.subscription import PayloadContent, Subscription

_ADDRESS = re.compile(r"mailto:([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})")
_ATTACHED = {"application/fhir+json", "application/json"}


class EmailChannel(StatelessChannel):
    """Hands each notification to the operator's mail relay."""

    is_pushed = True

    def __init__(self, send_mail: SendMail, sender: str) -> None:
        self._send_mail = send_mail
        self._sender = sender

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        endpoint = request.subscription.channel.endpoint
        if endpoint is None:
            return Unreachable(ErrorReport(None, "the subscription has no endpoint"))
        message = compose(request, recipient=endpoint.removeprefix("mailto:"), sender=self._sender)
        if request.exchange is not None:
            request.exchange.sent(message.as_bytes())
        answer = await self._send_mail(message, timeout_s=request.timeout_s)
        match answer:
            case MailAccepted():
                return Delivered("the mail relay accepted the mail")
            case MailRefused(is_transient=is_transient, text=text):
                return Refused(is_transient, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
            case RelayUnreachable(text=text):
                return Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, text))
        assert_never(answer)

    def concurrency_key(self, subscription: Subscription) -> str:  # noqa: ARG002 all mails go to the one relay
        return "smtp"

    def check(self, subscription: Subscription) -> list[Issue]:
        channel, issues = subscription.channel, []
        if not channel.endpoint or not _ADDRESS.fullmatch(channel.endpoint):
            text = "the endpoint of an email channel is mailto: and one mail address"
            issues.append(Issue("invalid", text, "endpoint"))
        body, attached = _types(channel.content_type)
        if body != "text/plain":
            text = (
                "the body of a mail is text/plain; use `text/plain;attach=application/fhir+json` "
                "to get the Bundle as an attachment"
            )
            issues.append(Issue("not-supported", text, "contentType"))
        if attached is not None and attached not in _ATTACHED:
            issues.append(
                Issue(
                    "not-supported",
                    f"the Bundle can't be attached as {attached!r}; use application/fhir+json",
                    "contentType",
                )
            )
        if channel.content is PayloadContent.FULL_RESOURCE:
            issues.append(
                Issue("not-supported", "mail is not secure; set the content to empty or id-only", "content")
            )
        issues += [
            Issue("not-supported", "a mail has no custom headers; leave the header out", f"parameter[{n}]")
            for n in range(len(channel.headers))
        ]
        return issues


def _types(content_type: str) -> tuple[str, str | None]:
    """The media types of the body and of the attachment (None: no attachment)."""
    body, *parameters = (part.strip() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "attach":
            return body.lower(), value.strip(' "').lower()
    return body.lower(), None


def compose(request: SendRequest, *, recipient: str, sender: str) -> EmailMessage:
    """The mail. It is the same in each attempt, Message-ID included, so that the receiver can detect
    duplicates.
    """
    notification = request.notification
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"Subscription {notification.subscription}: {_subject(notification)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.at_ms / 1000, tz=UTC))
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = f"<{notification.id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(notification)) + "\n")
    attached = _types(request.subscription.channel.content_type)[1]
    if attached is not None:
        _, _, subtype = attached.partition("/")
        message.add_attachment(
            request.body, maintype="application", subtype=subtype, filename=f"{notification.id}.json"
        )
    return message


def _subject(notification: Notification) -> str:
    match notification.type:
        case NotificationType.HANDSHAKE:
            return "notifications will be sent to this address"
        case NotificationType.HEARTBEAT:
            return "still active, no new events"
        case _:
            number = len(notification.foci)
            return f"{number} new event{'s' if number != 1 else ''}"


def _lines(notification: Notification) -> list[str]:
    lines = [
        f"Subscription {notification.subscription} ({notification.status}): {_subject(notification)}.",
        f"Events since the subscription started: {notification.events_since_start}.",
    ]
    for focus in notification.foci:
        is_empty = notification.content is PayloadContent.EMPTY
        reference = "" if is_empty else f": {focus.event.focus.reference}"
        lines.append(f"  event {focus.event.number}{reference}")
    if notification.type is NotificationType.HANDSHAKE:
        lines.append("If you did not ask for this subscription, contact the operator of the broker.")
    return lines
