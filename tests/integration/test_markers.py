"""Nothing that a broker with access control writes has a secret, and nothing but its store has health data:
with BROKER_SEAL_RESOURCES not even that.

Every text of every resource that is sent has a marker, and so have header values, queries, credentials, what
endpoints answer and what gateways write. All the ways through the broker are used, and then everything that
it wrote is searched: logs of all processes, files of the store, metrics, statuses, the list of processes.
"""

from pathlib import Path

import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.channel_taps import mailbox
from tests.integration.commands import Command
from tests.integration.guarded_broker import write_topic
from tests.integration.leaks import command_lines, files, forms, with_unpacked
from tests.integration.marked_poison import POISON
from tests.integration.marked_traffic import (
    ANSWER,
    HEALTH,
    IDENTIFIER,
    INBOX,
    KEY,
    QUERY,
    REQUEST_KEY,
    SECRET,
    URL,
    MarkedTraffic,
    register_clients,
)
from tests.ports import free_port

_FOR_PEOPLE_IN_CHARGE = (HEALTH, IDENTIFIER, QUERY, KEY, ANSWER, INBOX, REQUEST_KEY, POISON)
"""What no log line, metric, status or list of processes may have."""


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "unsealed"])
async def test_markers_are_found_only_where_the_documents_say(
    tmp_path: Path, subscriber: SimulatedSubscriber, is_sealed: bool
) -> None:
    port, data = free_port(), tmp_path / "data"
    base = f"http://127.0.0.1:{port}"
    clients = register_clients(tmp_path / "clients")
    settings = {"port": str(port), "data_dir": str(data), "log_level": "debug", "handshake_grace": "0s"}
    settings["topics_dir"] = str(write_topic(tmp_path / "topics"))
    settings |= {"auth": "smart", "clients_dir": str(clients), "seal_resources": str(is_sealed).lower()}
    async with mailbox() as mails:
        settings["smtp_url"] = mails.url
        with Command.of_broker(tmp_path, "serve", "--workers", "2", **settings) as serve:
            await serve.until_ready(base)
            # what is written unsealed differs in the texts of the store only
            async with MarkedTraffic(base, data, subscriber, mails, clients, is_whole=is_sealed) as traffic:
                await traffic.exercise()
                await traffic.look_at_everything(tmp_path)
                processes = command_lines()
            assert await serve.stop() == 0
    written = files(tmp_path)
    stored = {name: with_unpacked(content) for name, content in written.items() if name.startswith("data/")}
    logs = {name: content for name, content in written.items() if name.endswith(".log")}
    shown = {name: text.encode() for name, text in traffic.shown.items()}
    assert any(name.endswith(".aof") for name in stored)
    assert {"serve-workers-2.log", "valkey.log"} <= {Path(name).name for name in logs}

    answers = {"answers": "\n".join(traffic.answers).encode()}
    places = written | stored | shown | answers | {"processes": processes}
    for secret in (SECRET, *traffic.secrets):
        found = [name for name, text in places.items() if any(form in text for form in forms(secret))]
        assert found == [], f"the secret is in {found}"
    for marker in _FOR_PEOPLE_IN_CHARGE:
        places = logs | shown | {"processes": processes}
        assert [name for name, text in places.items() if marker.encode() in text] == [], marker
    assert [name for name, text in logs.items() if URL.encode() in text] == []

    in_store = {
        marker
        for marker in (HEALTH, IDENTIFIER, INBOX, QUERY, KEY, ANSWER, REQUEST_KEY)
        if any(marker.encode() in text for text in stored.values())
    }
    readable = {IDENTIFIER, INBOX, REQUEST_KEY}  # as docs/secrets.md says
    assert in_store == (readable if is_sealed else readable | {HEALTH})
    assert HEALTH in "".join(traffic.answers), "what was asked for was shown"
    assert traffic.is_everywhere(), "what was subscribed to was sent"
