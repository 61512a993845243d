"""Whatever is wrong with an assertion or a token, the answer has one shape, and no log line has any of it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest

from tests.conftest import StartBroker
from tests.integration.bad_assertions import BAD_ASSERTIONS, BAD_CREDENTIALS, CLIENT
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import key_of, register

SCOPE = "system/Observation.r"


@pytest.fixture(scope="module", autouse=True)
def _keys() -> None:
    for name in (CLIENT, "other", "disabled"):
        key_of(name)


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    register(tmp_path, CLIENT, SCOPE)
    register(tmp_path, "other", SCOPE)
    register(tmp_path, "disabled", SCOPE, disabled=True)
    async with smart_broker(start_broker, tmp_path) as running:
        yield running


def check_refused(response: httpx.Response, error: str, status: int = 400) -> None:
    assert response.status_code == status, response.text
    answer = response.json()
    assert set(answer) == {"error", "error_description"}
    assert answer["error"] == error, answer
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert "\n" not in answer["error_description"]


def check_not_logged(logged: str, *secrets: str) -> None:
    for secret in secrets:
        for part in re.split(r"[.\s,]+", secret):
            assert len(part) < 12 or part not in logged


async def test_every_bad_assertion_is_refused_in_one_shape(
    smart: SmartBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(BAD_ASSERTIONS) + len(BAD_CREDENTIALS) >= 40
    await smart.token(CLIENT, SCOPE)
    sent = {name: make(smart) for name, make in BAD_ASSERTIONS.items()}
    for assertion in sent.values():
        form = smart.form(CLIENT, SCOPE, client_assertion=assertion)
        check_refused(await smart.client.post("/oauth/token", data=form), "invalid_client")
        assert assertion not in (await smart.client.post("/oauth/token", data=form)).text
    check_not_logged(capsys.readouterr().out, *sent.values())


async def test_every_bad_token_is_answered_with_one_401(
    smart: SmartBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    good = await smart.token(CLIENT, SCOPE)
    assertion = smart.assertion(CLIENT)
    for path in ("/r4/Observation/none", "/r5/Subscription", "/metrics"):
        bodies = set()
        for name, make in BAD_CREDENTIALS.items():
            credentials = make(good, assertion).encode("latin-1")
            response = await smart.client.get(path, headers=[(b"Authorization", credentials)])
            assert response.status_code == 401, (name, response.text)
            assert response.headers["WWW-Authenticate"].startswith('Bearer realm="fhir-broker"')
            bodies.add(response.text)
        assert len(bodies) == 2, "without a bearer token, and with one that is not valid"
        queried = await smart.client.get(f"{path}?access_token={good}")
        assert queried.status_code == 401, "a token in the URL is none"
    assert (
        await smart.client.get("/r4/Observation/none", headers={"Authorization": f"bearer  {good}"})
    ).status_code == 404
    check_not_logged(capsys.readouterr().out, good, assertion)


async def test_an_assertion_works_once(smart: SmartBroker) -> None:
    form = smart.form(CLIENT, SCOPE)
    assert (await smart.client.post("/oauth/token", data=form)).status_code == 200
    again = await smart.client.post("/oauth/token", data=form)
    check_refused(again, "invalid_client")
    assert "jti" in again.json()["error_description"]
    same_jti = smart.form(CLIENT, SCOPE, client_assertion=smart.assertion(CLIENT, jti="chosen"))
    other = smart.form("other", SCOPE, client_assertion=smart.assertion("other", jti="chosen"))
    assert (await smart.client.post("/oauth/token", data=same_jti)).status_code == 200
    assert (await smart.client.post("/oauth/token", data=other)).status_code == 200, (
        "a jti belongs to its iss"
    )


async def test_a_refused_assertion_does_not_use_up_its_jti(smart: SmartBroker) -> None:
    forged = key_of("other").sign(smart.claims(CLIENT, jti="kept"))
    form = smart.form(CLIENT, SCOPE, client_assertion=forged)
    check_refused(await smart.client.post("/oauth/token", data=form), "invalid_client")
    good = smart.form(CLIENT, SCOPE, client_assertion=smart.assertion(CLIENT, jti="kept"))
    assert (await smart.client.post("/oauth/token", data=good)).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"aud": lambda smart: [smart.token_url, "https://other.example"]}, id="audiences"),
        pytest.param({"exp_in": 300}, id="exp in 300 s"),
        pytest.param({"nbf_in": -1}, id="nbf now"),
        pytest.param({"iat_in": 0}, id="iat now"),
    ],
)
async def test_what_the_rules_allow_is_accepted(smart: SmartBroker, changed: dict[str, object]) -> None:
    claims: dict[str, Any] = {}
    for name, value in changed.items():
        if callable(value):
            claims[name] = value(smart)
        else:
            assert isinstance(value, int)
            claims[name.removesuffix("_in")] = int(time()) + value
    form = smart.form(CLIENT, SCOPE, client_assertion=smart.assertion(CLIENT, **claims))
    assert (await smart.client.post("/oauth/token", data=form)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"scope": None}, "invalid_request"),
        ({"scope": " "}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "user/Observation.r"}, "invalid_scope"),
        ({"scope": "system/Observation.sr"}, "invalid_scope"),
        ({"scope": "system/Sandwich.r"}, "invalid_scope"),
        ({"scope": "system/Patient.r"}, "invalid_scope"),
        ({"scope": "system/*.r"}, "invalid_scope"),
        ({"scope": f"{SCOPE} system/Patient.r"}, "invalid_scope"),
        ({"scope": "system/Observation.r?subject:Patient.name=a"}, "invalid_scope"),
        ({"scope": "system/Observation.r?_filter=a"}, "invalid_scope"),
        ({"client_assertion": None}, "invalid_request"),
        ({"client_assertion_type": None}, "invalid_request"),
        (
            {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
            "invalid_client",
        ),
        ({"client_id": "other"}, "invalid_client"),
        ({"client_secret": "secret"}, "invalid_client"),
    ],
    ids=str,
)
async def test_a_wrong_field_has_the_error_of_the_standard(
    smart: SmartBroker, changed: dict[str, str | None], error: str
) -> None:
    form = {name: value for name, value in (smart.form(CLIENT, SCOPE) | changed).items() if value is not None}
    check_refused(await smart.client.post("/oauth/token", data=form), error)


async def test_a_narrower_scope_than_registered_is_granted(smart: SmartBroker) -> None:
    form = smart.form(CLIENT, f"{SCOPE}?category=vital-signs") | {"client_id": CLIENT}
    response = await smart.client.post("/oauth/token", data=form)
    assert response.json()["scope"] == f"{SCOPE}?category=vital-signs"


async def test_what_is_no_form_is_refused(smart: SmartBroker) -> None:
    form = smart.form(CLIENT, SCOPE)
    url = "/oauth/token"
    check_refused(await smart.client.post(url, json=form), "invalid_request")
    check_refused(await smart.client.post(url, content=b"", headers={"Content-Type": ""}), "invalid_request")
    check_refused(await smart.client.post(url, params=form), "invalid_request")
    check_refused(await smart.client.post(f"{url}?a=b", data=form), "invalid_request")
    twice = {"Content-Type": "application/x-www-form-urlencoded"}
    body = str(httpx.QueryParams(form)).encode()
    check_refused(await smart.client.post(url, content=body + b"&scope=a", headers=twice), "invalid_request")
    check_refused(await smart.client.post(url, content=b"\xff\xfe=1", headers=twice), "invalid_request")
    large = form | {"padding": "x" * 70_000}
    check_refused(await smart.client.post(url, data=large), "invalid_request", 413)
    assert (await smart.client.get(url)).status_code == 405
    basic = await smart.client.post(url, data=form, auth=("gateway", "secret"))
    check_refused(basic, "invalid_client")
