"""Who may use the console: links of the local administrator, people of an issuer, sessions, forms, the
audit.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from broker.app import console_link
from broker.console.table import pages
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import LOCAL_ADMINISTRATOR
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.audit_client import AuditReader, agent, word
from tests.integration.broker_fixture import until
from tests.integration.fake_issuer import Issuer, running_issuer
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import register

CONFIGURATION = """
[[issuer]]
name = "hospital"
issuer = "{url}"
audience = "https://broker.example"
scope = "system/*.rs"
tenant_claim = "hospital"
tenants = ["default", "north"]
disabled_clients = ["left"]
[issuer.groups.operators]
roles = ["operator"]
[issuer.groups.readers]
scope = "system/Subscription.rs"
"""
OPERATORS = {"groups": ["operators"]}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path, issuer: Issuer) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "auditor", "system/AuditEvent.rs", roles=["auditor"])
    register(tmp_path, "north-auditor", "system/AuditEvent.rs", roles=["auditor"], tenant="north")
    configuration, secret = tmp_path / "issuers.toml", tmp_path / "secret"
    configuration.write_text(CONFIGURATION.format(url=issuer.url))
    issuer.secret = "s3cret"
    secret.write_text("s3cret\n")
    async with smart_broker(
        start_broker,
        tmp_path,
        issuers=configuration,
        console_issuer="hospital",
        console_client_secret=secret,
    ) as running:
        yield running


@pytest.fixture
async def browser(smart: SmartBroker) -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies, follows no redirects."""
    async with httpx.AsyncClient(
        base_url=smart.base_url, timeout=60, trust_env=False, verify=NO_AUTHORITIES
    ) as client:
        yield client


async def new_link(smart: SmartBroker, tenant: str = DEFAULT_TENANT) -> str:
    """The token of a new link."""
    settings = smart.broker.settings
    link = await console_link.make_link(settings, smart.broker.store_url, Tenant(tenant))
    assert link.startswith(f"{smart.base_url}/console/login/link?token=")
    return parse_qs(urlsplit(link).query)["token"][0]


async def use_link(browser: httpx.AsyncClient, token: str) -> httpx.Response:
    return await browser.post("/console/login/link", data={"token": token})


async def log_in(browser: httpx.AsyncClient, issuer: Issuer, **claims: Any) -> httpx.Response:
    """What the browser gets when it comes back from the issuer."""
    started = await browser.get("/console/login/start?next=/overview")
    assert started.status_code == 303, started.text
    query = issuer.grant_code(started.headers["location"], **claims)
    return await browser.get(f"/console/login/callback?{query}")


async def logins(smart: SmartBroker, client: str = "auditor") -> list[tuple[str, str, str]]:
    """Agent, outcome and detail of each authentication in the trail, oldest first."""
    async with smart.as_client(client, "system/AuditEvent.rs") as auditor:
        events = await AuditReader(auditor).export()
    return [
        (agent(event), event["outcome"], event["outcomeDesc"]) for event in events if word(event) == "110122"
    ]


def form_token(page: httpx.Response) -> str:
    [token] = set(re.findall(r'name="csrf" value="(\w+)"', page.text))
    return str(token)


async def test_a_link_logs_in_an_administrator_once(smart: SmartBroker, browser: httpx.AsyncClient) -> None:
    refused = await browser.get("/console/overview")
    assert (refused.status_code, refused.headers["location"]) == (303, "/console/login?next=%2Foverview")
    assert "console-login" in (await browser.get("/console/login")).text
    token = await new_link(smart)
    for _ in range(2):  # a program that looks at the URL in advance uses nothing up
        assert (await browser.get(f"/console/login/link?token={token}")).status_code == 200
    entered = await use_link(browser, token)
    assert (entered.status_code, entered.headers["location"]) == (303, "/console/")
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith(f"fhir-broker-console-{smart.broker.settings.port}=")
    assert {"HttpOnly", "Path=/console", "SameSite=lax", "Max-Age=28800"} <= set(cookie.split("; "))
    page = await browser.get("/console/overview")
    assert page.status_code == 200
    assert LOCAL_ADMINISTRATOR in page.text
    again = await use_link(browser, token)
    assert again.status_code == 403
    assert "works once" in again.text
    assert await logins(smart) == [
        (LOCAL_ADMINISTRATOR, "0", "log in by console link"),
        ("unauthenticated", "4", "console link not valid"),
    ]


async def test_a_link_is_for_its_tenant(smart: SmartBroker, browser: httpx.AsyncClient) -> None:
    assert (await use_link(browser, await new_link(smart, "north"))).status_code == 303
    assert "tenant north" in (await browser.get("/console/overview")).text
    assert await logins(smart) == []
    assert [entry[0] for entry in await logins(smart, "north-auditor")] == [LOCAL_ADMINISTRATOR]


async def test_a_logout_ends_the_session(smart: SmartBroker, browser: httpx.AsyncClient) -> None:
    await use_link(browser, await new_link(smart))
    page = await browser.get("/console/overview")
    stolen = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    left = await browser.post("/console/logout", data={"csrf": form_token(page)})
    assert (left.status_code, left.headers["location"]) == (303, "/console/login")
    assert "You are logged out." in (await browser.get("/console/login")).text
    again = await smart.client.get("/console/overview", headers={"Cookie": stolen})
    assert again.status_code == 303
    assert (await logins(smart))[-1] == (LOCAL_ADMINISTRATOR, "0", "log out")


async def test_forms_of_others_do_nothing(smart: SmartBroker, browser: httpx.AsyncClient) -> None:
    await use_link(browser, await new_link(smart))
    page = await browser.get("/console/overview")
    token = form_token(page)
    for data, headers in (
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": token}, {"Origin": "https://evil.example"}),
        ({"csrf": token}, {"Origin": "null"}),
        ({"csrf": token}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        refused = await browser.post("/console/logout", data=data, headers=headers)
        assert refused.status_code == 403, (data, headers)
    assert (await browser.get("/console/overview")).status_code == 200
    own = {"Origin": smart.base_url, "Sec-Fetch-Site": "same-origin"}
    assert (await browser.post("/console/logout", data={"csrf": token}, headers=own)).status_code == 303


async def test_a_person_of_the_issuer_has_the_roles_of_their_groups(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer
) -> None:
    assert "Log in at hospital" in (await browser.get("/console/login")).text
    entered = await log_in(browser, issuer, **OPERATORS)
    assert (entered.status_code, entered.headers["location"]) == (303, "/console/overview"), entered.text
    page = await browser.get("/console/overview")
    assert page.status_code == 200
    assert "hospital:default:ann" in page.text
    assert await logins(smart) == [("hospital:default:ann", "0", "log in by hospital")]


async def test_a_person_without_the_role_is_refused_and_that_is_audited(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer
) -> None:
    assert (await log_in(browser, issuer, hospital="north")).status_code == 303
    refused = await browser.get("/console/overview")
    assert refused.status_code == 403
    assert "the role operator" in refused.text
    assert "You may see no page here" in (await browser.get("/console/")).text
    async with smart.as_client("north-auditor", "system/AuditEvent.rs") as auditor:
        events = await AuditReader(auditor).export()
    [event] = [event for event in events if event["outcome"] == "4"]
    assert (agent(event), event["outcomeDesc"]) == ("hospital:north:ann", "console /overview forbidden")


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "other nonce": {"nonce": "other"},
    "no nonce": {"nonce": None},
    "for another client": {"aud": "other"},
    "for two, of another": {"aud": ["fhir-broker-console", "other"], "azp": "other"},
    "for two, of nobody": {"aud": ["fhir-broker-console", "other"]},
    "access token": {"header": {"typ": "at+jwt"}},
    "no subject": {"sub": None},
    "disabled": {"sub": "left"},
    "unknown tenant": {"hospital": "south"},
    "other issuer": {"iss": "https://other.example"},
    "unknown key": {"kid": "other"},
}


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
async def test_an_id_token_that_is_not_valid_logs_nobody_in(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer, claims: dict[str, Any]
) -> None:
    refused = await log_in(browser, issuer, **{**OPERATORS, **claims})
    assert refused.status_code == 403
    assert "Ask the administrator of the broker." in refused.text
    assert (await browser.get("/console/overview")).status_code == 303
    assert await logins(smart) == [("unauthenticated", "4", "console login: ID token")]


async def test_an_answer_is_used_once_and_in_its_browser_alone(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer
) -> None:
    started = await browser.get("/console/login/start")
    query = issuer.grant_code(started.headers["location"], **OPERATORS)
    elsewhere = await smart.client.get(f"/console/login/callback?{query}")
    assert elsewhere.status_code == 403
    assert "No login was started in this browser" in elsewhere.text
    for wrong in (
        query.replace("state=", "state=x"),
        query.replace("iss=", "iss=x"),
        "error=access_denied",
    ):
        await browser.get("/console/login/start")
        assert (await browser.get(f"/console/login/callback?{wrong}")).status_code == 403
    again = await browser.get(f"/console/login/callback?{query}")
    assert "No login was started" in again.text
    assert (await browser.get("/console/overview")).status_code == 303


async def test_a_person_who_is_disabled_loses_the_session(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer
) -> None:
    await log_in(browser, issuer, **OPERATORS)
    assert (await browser.get("/console/overview")).status_code == 200
    path = smart.broker.settings.issuers
    assert path is not None
    path.write_text(CONFIGURATION.format(url=issuer.url).replace('"left"', '"ann"'))
    await smart.broker.reload()

    async def is_out() -> bool:
        return (await browser.get("/console/overview")).status_code == 303

    await until(is_out)


@pytest.mark.parametrize("path", ["//evil.example/x", "https://evil.example", "/a\\b", "x"])
async def test_a_login_leads_to_no_other_site(browser: httpx.AsyncClient, issuer: Issuer, path: str) -> None:
    started = await browser.get("/console/login/start", params={"next": path})
    query = issuer.grant_code(started.headers["location"], **OPERATORS)
    entered = await browser.get(f"/console/login/callback?{query}")
    assert entered.headers["location"] == "/console/"


async def test_an_issuer_that_is_down_is_said_in_words(browser: httpx.AsyncClient, issuer: Issuer) -> None:
    issuer.is_down = True
    failed = await browser.get("/console/login/start")
    assert failed.status_code == 503
    assert "hospital can&#39;t log you in at the moment" in failed.text


async def test_cookies_are_for_https_alone_where_the_broker_is_behind_it(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    async with smart_broker(start_broker, tmp_path, base_url="https://broker.example/fhir") as smart:
        port = smart.broker.settings.port
        link = await console_link.make_link(smart.broker.settings, smart.broker.store_url, DEFAULT_TENANT)
        assert link.startswith("https://broker.example/fhir/console/login/link?token=")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, verify=NO_AUTHORITIES
        ) as client:
            entered = await use_link(client, parse_qs(urlsplit(link).query)["token"][0])
    assert entered.headers["location"] == "/fhir/console/"
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("__Secure-fhir-broker-console=")
    assert {"Secure", "Path=/fhir/console"} <= set(cookie.split("; "))


async def test_an_open_broker_is_open_here_as_at_the_api(client: httpx.AsyncClient) -> None:
    page = await client.get("/console/overview")
    assert page.status_code == 200
    assert "Log out" not in page.text
    assert (await client.get("/console")).headers["location"] == "console/"
    assert (await client.get("/console/login")).status_code == 404
    elsewhere = await client.get("/console/overview", headers={"Host": "evil.example"})
    assert elsewhere.status_code == 403


async def test_a_broker_that_anyone_may_reach_has_no_console_unless_told(start_broker: StartBroker) -> None:
    for setting, status in (("auto", 404), ("on", 200), ("off", 404)):
        async with (
            start_broker(host="0.0.0.0", allow_open=True, console=setting) as broker,
            httpx.AsyncClient(trust_env=False, timeout=60, verify=NO_AUTHORITIES) as client,
        ):
            answer = await client.get(f"http://127.0.0.1:{broker.settings.port}/console/overview")
            assert answer.status_code == status


ROWS = [row for row in pages(MagicMock()) if row.path != "/" and not row.path.startswith("/tour")]
"""Those that need a scope or a role; only a demo has a tour."""


async def test_no_row_is_for_somebody_without_its_scope_or_role(
    smart: SmartBroker, browser: httpx.AsyncClient, issuer: Issuer
) -> None:
    assert len(ROWS) > 2
    for row in ROWS:
        path = "/console" + re.sub(r"\{\w+\}", "x", row.path)
        refused = await smart.client.request(row.method, path)
        assert refused.status_code == (303 if row.method == "GET" else 401), path
    assert (await log_in(browser, issuer)).status_code == 303
    for row in ROWS:
        path = "/console" + re.sub(r"\{\w+\}", "x", row.path)
        refused = await browser.request(row.method, path)
        assert refused.status_code == 403, path
        assert "You may not do this" in refused.text
    async with smart.as_client("auditor", "system/AuditEvent.rs") as auditor:
        events = await AuditReader(auditor).export()
    seen = [event["outcomeDesc"] for event in events if event["outcome"] == "4"]
    assert [text for text in seen if text.startswith("console ")] == [
        f"console {row.path} forbidden" for row in ROWS
    ]


async def test_what_a_page_shows_is_no_markup(browser: httpx.AsyncClient, issuer: Issuer) -> None:
    assert (await log_in(browser, issuer, **OPERATORS, sub="<b>ann</b>&amp;")).status_code == 303
    page = await browser.get("/console/overview")
    assert "&lt;b&gt;ann&lt;/b&gt;&amp;amp;" in page.text
    assert "<b>ann" not in page.text
