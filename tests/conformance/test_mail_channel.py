"""The email channel against a real SMTP server (R-330..R-334)."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from broker.channels.base import SendRequest
from broker.channels.email import EmailChannel
from broker.channels.exchange import Exchange
from broker.egress.smtp import Mailer, relay_of
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import Event, Focus, Notification, NotificationType
from broker.model.outcome import Delivered, Refused, Unreachable
from broker.model.release import Release
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    SubscriptionId,
    SubscriptionStatus,
)
from tests.conformance.channel_fixture import request_to
from tests.ports import free_port
from tests.subscriptions import stored_subscription

BODY = b'{"resourceType":"Bundle","type":"history"}'
FOCUS = VersionKey(DEFAULT_TENANT, "Observation", "o1", 1)


@dataclass
class Mailbox:
    """What the server took; `answer` replaces its reply to the recipient."""

    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"
    port: int = 0

    async def handle_RCPT(  # noqa: N802 aiosmtpd's name
        self, _server: object, _session: object, envelope: Envelope, address: str, _options: object
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, policy=policy.default))
        return "250 taken"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()
    await server.wait_closed()


def email(port: int) -> EmailChannel:
    mailer = Mailer(relay_of(f"smtp://127.0.0.1:{port}", "broker@hospital.example"))
    return EmailChannel(mailer.send, mailer.relay.sender)


def notification(content: PayloadContent) -> Notification:
    event = Event(7, 1_700_000_000_000, FOCUS, Release.R4, Interaction.CREATE)
    return Notification(
        id="3b0d0f5c-6f3e-4d52-9a4e-8a7f0f6f2a11",
        type=NotificationType.EVENT_NOTIFICATION,
        release=Release.R4,
        subscription=SubscriptionId("s1"),
        topic="http://example.org/topic",
        status=SubscriptionStatus.ACTIVE,
        content=content,
        events_since_start=7,
        at_ms=1_700_000_000_000,
        foci=(Focus(event, None),),
    )


def request(content: PayloadContent, content_type: str) -> SendRequest:
    endpoint = "mailto:ward@hospital.example"
    return request_to(
        endpoint, notification=notification(content), body=BODY, content_type=content_type, content=content
    )


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def test_a_notification_is_one_readable_mail_with_the_bundle_attached(mailbox: Mailbox) -> None:
    exchange = Exchange()
    sent = request(PayloadContent.ID_ONLY, "text/plain;attach=application/fhir+json")
    sent = sent._replace(exchange=exchange)
    assert await email(mailbox.port).send(sent) == Delivered("the mail relay accepted the mail")
    [mail] = mailbox.mails
    assert mail["To"] == "ward@hospital.example"
    assert "Observation/o1" in text_of(mail)
    [attached] = mail.iter_attachments()
    assert attached.get_content_type() == "application/fhir+json"
    assert json.loads(attached.get_content()) == json.loads(BODY)
    assert exchange.body is not None
    assert mail["Message-ID"].encode() in exchange.body


async def test_the_mail_of_an_empty_notification_does_not_name_the_focus(mailbox: Mailbox) -> None:
    assert await email(mailbox.port).send(request(PayloadContent.EMPTY, "text/plain")) == Delivered(
        "the mail relay accepted the mail"
    )
    [mail] = mailbox.mails
    assert "event 7" in text_of(mail)
    assert "Observation" not in mail.as_string()
    assert list(mail.iter_attachments()) == []


async def test_a_retry_has_the_same_message_id(mailbox: Mailbox) -> None:
    channel = email(mailbox.port)
    for _ in range(2):
        await channel.send(request(PayloadContent.EMPTY, "text/plain"))
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.parametrize(("answer", "is_transient"), [("450 later", True), ("550 no such box", False)])
async def test_a_4xx_reply_is_a_transient_refusal_and_5xx_a_permanent_one(
    answer: str,
    is_transient: bool,
    mailbox: Mailbox,
) -> None:
    mailbox.answer = answer
    outcome = await email(mailbox.port).send(request(PayloadContent.EMPTY, "text/plain"))
    assert isinstance(outcome, Refused)
    assert outcome.is_transient is is_transient
    assert answer[:3] in outcome.error.text


async def test_a_relay_that_does_not_answer_is_unreachable() -> None:
    outcome = await email(free_port()).send(request(PayloadContent.EMPTY, "text/plain"))
    assert isinstance(outcome, Unreachable)


GOOD = Channel(
    type=ChannelType("email"),
    endpoint="mailto:ward@hospital.example",
    headers=(),
    content_type="text/plain;attach=application/fhir+json",
    content=PayloadContent.ID_ONLY,
)


def test_usable_settings_are_accepted() -> None:
    assert email(25).check(stored_subscription().changed(channel=GOOD)) == []


@pytest.mark.parametrize(
    ("change", "element"),
    [
        ({"endpoint": "https://hospital.example"}, "endpoint"),
        ({"endpoint": "mailto:a@b.example,c@d.example"}, "endpoint"),
        ({"endpoint": "mailto:a@b.example?bcc=c@d.example"}, "endpoint"),
        ({"endpoint": "mailto:a@b.example\r\nBcc: c@d.example"}, "endpoint"),
        ({"content_type": "application/fhir+json"}, "contentType"),
        ({"content_type": "text/plain;attach=application/pdf"}, "contentType"),
        ({"content": PayloadContent.FULL_RESOURCE}, "content"),
        ({"headers": (("X-A", "b"),)}, "parameter[0]"),
    ],
)
def test_settings_that_mail_does_not_support_are_refused_with_their_element(
    change: dict[str, object], element: str
) -> None:
    changed = replace(GOOD, **change)  # type: ignore[arg-type]  # fields by name
    issues = email(25).check(stored_subscription().changed(channel=changed))
    assert [issue.expression for issue in issues] == [element]


def test_all_mails_share_the_concurrency_key_of_the_relay() -> None:
    subscriptions = [request_to(f"mailto:{name}@hospital.example").subscription for name in ("a", "b")]
    assert len({email(25).concurrency_key(subscription) for subscription in subscriptions}) == 1
