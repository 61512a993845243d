"""A broker process with an embedded store, the shipped topics, two topics of its own, and a mail server."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from aiosmtpd.smtp import SMTP, Envelope
from redis import asyncio as redis

from broker.store.embedded import url_of
from tests.integration.commands import REPOSITORY, Command
from tests.ports import free_port

EVERYTHING = "http://example.org/topics/observations"
ADMISSIONS = "http://example.org/topics/encounters"
_TOPICS: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "SubscriptionTopic",
        "id": "observations",
        "url": EVERYTHING,
        "version": "1",
        "status": "active",
        "resourceTrigger": [
            {"resource": "Observation", "supportedInteraction": ["create", "update", "delete"]}
        ],
        "canFilterBy": [{"resource": "Observation", "filterParameter": "patient"}],
    },
    {
        "resourceType": "SubscriptionTopic",
        "id": "encounters",
        "url": ADMISSIONS,
        "version": "1",
        "status": "active",
        "resourceTrigger": [{"resource": "Encounter"}],
        "notificationShape": [
            {
                "resource": "Encounter",
                "include": ["Encounter:patient"],
                "revInclude": ["Observation:encounter"],
            }
        ],
    },
)


class Mailbox:
    """What the mail server received."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(envelope.content if isinstance(envelope.content, bytes) else b"")
        return "250 accepted"

    def bundles(self) -> list[bytes]:
        """The attachments of all mails."""
        found = []
        for mail in self.mails:
            for part in message_from_bytes(mail, policy=policy.default).iter_attachments():
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                found.append(payload)
        return found


class BrokerProcess(NamedTuple):
    """A client of the broker, the mailbox of its relay, and the URL of its embedded store."""

    client: httpx.AsyncClient
    mailbox: Mailbox
    store_url: str

    async def refuse_inbox_entry(self) -> None:
        """Puts an entry on the inbox that the broker refuses."""
        async with redis.Redis.from_url(self.store_url) as store:
            await store.xadd("fhir:inbox", {"resource": b'{"resourceType":"Observation","id":"refused"}'})


@contextlib.asynccontextmanager
async def running_broker() -> AsyncIterator[BrokerProcess]:
    """A broker that is ready; it stops on the way out."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    with tempfile.TemporaryDirectory(prefix="validation-") as name:
        scratch = Path(name)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        command = Command.of_broker(
            scratch,
            "serve",
            port=str(port),
            data_dir=str(scratch / "data"),
            topics_dir=str(_topics_folder(scratch)),
            smtp_url=f"smtp://127.0.0.1:{mail.sockets[0].getsockname()[1]}",
            smtp_from="broker@example.org",
        )
        with command:
            await command.until_ready(base)
            async with mail, httpx.AsyncClient(base_url=base, timeout=60) as client:
                yield BrokerProcess(client, mailbox, url_of(scratch / "data"))
            await command.stop()


def _topics_folder(scratch: Path) -> Path:
    folder = scratch / "topics"
    shipped = REPOSITORY / "topics"
    for source in shipped.rglob("*.json"):
        copy = folder / source.relative_to(shipped)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    for topic in _TOPICS:
        (folder / f"example-{topic['id']}.json").write_text(json.dumps(topic))
    return folder
