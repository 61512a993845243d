"""The email channel (R-330..R-334): one mail a notification, a text people can read, and the Bundle attached if asked for.

Mail is not a secure channel: nothing above `id-only` leaves by it, and the text says no more than the content level allows.
"""

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from broker.channels.base import SendRequest
from broker.egress.smtp import Mailer, NotTaken
from broker.errors import Issue
from broker.model.notification import DeliveryError, ErrorReport, Notification, NotificationType
from broker.model.outcome import Delivered, Outcome, Refused, Unreachable
from broker.model.subscription import Channel as ChannelSettings
from broker.model.subscription import PayloadContent

_ADDRESS = re.compile(r"mailto:([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})")
_ATTACHED = {"application/fhir+json", "application/json"}


class Email:
    """Hands each notification to the operator's mail relay."""

    is_pushed = True

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def send(self, request: SendRequest) -> Outcome:
        message = compose(request, self._mailer.relay.sender)
        answer = await self._mailer.send(message, timeout_s=request.timeout_s)
        match answer:
            case NotTaken(code=0, text=text):
                return Unreachable(ErrorReport(DeliveryError.NO_RESPONSE, text))
            case NotTaken(code=code, text=text):
                return Refused(code, 400 <= code < 500, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
            case _:
                return Delivered(250)

    def check(self, channel: ChannelSettings) -> list[Issue]:
        issues = []
        if not channel.endpoint or not _ADDRESS.fullmatch(channel.endpoint):
            issues.append(
                Issue("invalid", "the endpoint of an email channel is mailto:one@address", "endpoint")
            )
        body, attached = _types(channel.content_type)
        if body != "text/plain":
            text = "the body of a mail is text/plain; `text/plain;attach=application/fhir+json` attaches the Bundle"
            issues.append(Issue("not-supported", text, "contentType"))
        if attached is not None and attached not in _ATTACHED:
            issues.append(Issue("not-supported", f"nothing is attached as {attached!r}", "contentType"))
        if channel.content is PayloadContent.FULL_RESOURCE:
            issues.append(Issue("not-supported", "mail is not secure: ask for empty or id-only", "content"))
        issues += [
            Issue("not-supported", "a mail carries no headers of the subscriber's", f"parameter[{n}]")
            for n in range(len(channel.headers))
        ]
        return issues


def _types(content_type: str) -> tuple[str, str | None]:
    """The type of the body, and of what is attached."""
    body, *parameters = (part.strip() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "attach":
            return body.lower(), value.strip(' "').lower()
    return body.lower(), None


def compose(request: SendRequest, sender: str) -> EmailMessage:
    """The mail; the same for each attempt, its Message-ID included, so that a repetition can be recognised."""
    notification = request.notification
    message = EmailMessage()
    message["From"] = sender
    message["To"] = request.endpoint.removeprefix("mailto:")
    message["Subject"] = f"Subscription {notification.subscription}: {_subject(notification)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.at_ms / 1000, tz=UTC))
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = f"<{notification.id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(notification)) + "\n")
    attached = _types(request.content_type)[1]
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
            return "still active, nothing new"
        case _:
            number = len(notification.foci)
            return f"{number} new event{'s' if number != 1 else ''}"


def _lines(notification: Notification) -> list[str]:
    lines = [
        f"Subscription {notification.subscription} ({notification.status}): {_subject(notification)}.",
        f"Events since it began: {notification.events_since_start}.",
    ]
    for focus in notification.foci:
        about = "" if notification.content is PayloadContent.EMPTY else f": {focus.event.focus.reference}"
        lines.append(f"  event {focus.event.number}{about}")
    if notification.type is NotificationType.HANDSHAKE:
        lines.append("If you did not ask for this, tell whoever runs the broker.")
    return lines
