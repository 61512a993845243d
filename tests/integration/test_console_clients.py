"""The console's pages of clients and keys, with access control: shown, disabled, enabled, a key revoked; the
same rights as at the API.
"""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.app import console_link
from broker.model.change import DEFAULT_TENANT
from broker.security.private_keys import PrivateKey
from tests.conftest import StartBroker
from tests.integration.audit_client import AuditReader
from tests.integration.console_client import ConsoleClient, console_of
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import key_of, register, registration

GATEWAY = registration("ward/gateway?1", "system/Observation.c system/Device.rs")
PAGE = "/clients/ward%2Fgateway%3F1"


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "root", "system/*.cruds", roles=["admin", "auditor"])
    register(tmp_path, "elsewhere", "system/*.cruds", roles=["admin"], tenant="elsewhere")
    async with smart_broker(start_broker, tmp_path) as running:
        yield running


@pytest.fixture
async def console(smart: SmartBroker) -> AsyncIterator[ConsoleClient]:
    """Logged in as the local administrator."""
    async with console_of(smart.base_url) as window:
        link = await console_link.make_link(smart.broker.settings, smart.broker.store_url, DEFAULT_TENANT)
        token = parse_qs(urlsplit(link).query)["token"][0]
        entered = await window.client.post("/console/login/link", data={"token": token})
        assert entered.status_code == 303
        yield window


async def read(console: ConsoleClient, path: str, status: int = 200) -> str:
    """The text of a page."""
    page = await console.read(path)
    assert page.status == status, page.text
    return page.text


async def etag(console: ConsoleClient) -> str:
    """What the forms of the client's page say that they change."""
    found = re.findall(r'name="etag" value="([^"]+)"', (await console.read(PAGE)).source)
    return html.unescape(found[0])


async def test_an_administrator_sees_clients_revokes_a_key_and_disables(
    smart: SmartBroker, console: ConsoleClient
) -> None:
    second = PrivateKey.generate("ES384")
    keys = [dict(key_of(GATEWAY["client_id"]).public_jwk), dict(second.public_jwk)]
    async with smart.as_client("root", "system/*.cruds") as root:
        root.headers["Content-Type"] = "application/json"
        registered = GATEWAY | {"jwks": {"keys": keys}}
        assert (await root.post("/oauth/clients", json=registered)).status_code == 201
    listed = await read(console, "/clients")
    assert "ward/gateway?1 enabled" in listed
    assert "root" in listed
    assert "elsewhere" not in listed
    assert "There are none: the broker gets no tokens from others." in listed
    shown = await read(console, PAGE)
    assert "system/Device.rs system/Observation.c" in shown
    assert "0 days" in shown
    assert "0 of at most 10,000" in shown
    await read(console, "/clients/elsewhere", 404)

    revoke, access = f"{PAGE}/keys/revoke", f"{PAGE}/access"
    done = await console.send(PAGE, revoke, kid=keys[0]["kid"], etag=await etag(console))
    assert f"The key {keys[0]['kid']} is revoked" in done.text
    assert "its only key" in done.text
    last = await console.send(PAGE, revoke, kid=keys[1]["kid"], etag=await etag(console))
    assert last.status == 409
    assert "Register another key first" in last.text
    stale = await console.send(PAGE, access, access="disabled", etag='"other"')
    assert stale.status == 412
    assert "was changed meanwhile" in stale.text
    done = await console.send(PAGE, access, access="disabled", etag=await etag(console))
    assert "is disabled. Its tokens are refused within 5 seconds." in done.text
    assert "ward/gateway?1 disabled" in await read(console, "/clients")
    form = smart.form(GATEWAY["client_id"], "system/Device.rs")
    form["client_assertion"] = smart.assertion(GATEWAY["client_id"], key=second)
    refused = await smart.client.post("/oauth/token", data=form)
    assert refused.json()["error"] == "invalid_client"
    await console.send(PAGE, access, access="enabled", etag=await etag(console))
    form["client_assertion"] = smart.assertion(GATEWAY["client_id"], key=second)
    assert (await smart.client.post("/oauth/token", data=form)).status_code == 200

    file = await read(console, "/clients/root")
    assert "It is registered by a file of BROKER_CLIENTS_DIR" in file
    assert "not known" in file
    async with smart.as_client("root", "system/AuditEvent.rs") as auditor:
        details = [event.get("outcomeDesc", "") for event in await AuditReader(auditor).export()]
    for act in ("change", "disable", "enable"):
        assert any(detail.endswith(f"{act} client ward/gateway?1") for detail in details), details
