"""What the broker makes of the answers of token servers and discovery documents (S-101, S-064)."""

import json
from pathlib import Path
from typing import Any

import pytest

from broker.delivery.token_requests import IssuedToken, TokenRefused, TokenRequests
from broker.egress.documents import Document
from broker.egress.http import HttpFailure, HttpResponse
from broker.model.change import Tenant
from broker.security.broker_keys import BrokerKeys
from broker.security.outbound_rules import OutboundRule

TENANT = Tenant("a")
RULE = OutboundRule(TENANT, "https://ehr.example/", "c", "s", "private_key_jwt", "https://auth.example/token")
DISCOVERED = OutboundRule(
    TENANT, "https://ehr.example/", "c", "s", "private_key_jwt", "", "https://ehr.example/fhir"
)
MARKER = "marker-of-a-secret"


class Post:
    """Answers with one answer, and keeps the URLs."""

    def __init__(self, answer: HttpResponse | HttpFailure) -> None:
        self.answer = answer
        self.urls: list[str] = []

    async def __call__(self, url: str, **_: Any) -> HttpResponse | HttpFailure:
        self.urls.append(url)
        return self.answer


def answered(status: int = 200, **members: Any) -> HttpResponse:
    good = {"access_token": "t", "token_type": "bearer", "expires_in": 60}
    document = {name: value for name, value in (good | members).items() if value is not None}
    return HttpResponse(status, None, json.dumps(document).encode())


def requests(
    folder: Path, answer: HttpResponse | HttpFailure, configuration: object = None
) -> tuple[TokenRequests, Post]:
    keys = BrokerKeys(folder)
    keys.rotate(TENANT, 0)
    post = Post(answer)

    async def get(url: str) -> Document:
        assert url == "https://ehr.example/fhir/.well-known/smart-configuration"
        return Document(json.dumps(configuration).encode(), None)

    return TokenRequests(post, get, keys), post


@pytest.mark.parametrize(
    ("members", "issued"),
    [
        ({}, IssuedToken("t", 60.0)),
        ({"token_type": "BEARER"}, IssuedToken("t", 60.0)),
        ({"expires_in": None}, IssuedToken("t", 300.0)),
        ({"expires_in": "120"}, IssuedToken("t", 120.0)),
        ({"expires_in": 10**9}, IssuedToken("t", 3600.0)),
        ({"expires_in": 10**400}, IssuedToken("t", 3600.0)),
    ],
)
async def test_a_good_answer_gives_a_token(
    tmp_path: Path, members: dict[str, Any], issued: IssuedToken
) -> None:
    client, _ = requests(tmp_path, answered(**members))
    assert await client.request(RULE) == issued


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answered(token_type="mac"), "token_type other than bearer"),
        (answered(token_type=None), "token_type other than bearer"),
        (answered(access_token=None), "without a usable access_token"),
        (answered(access_token=f"{MARKER}\r\nX: 1"), "without a usable access_token"),
        (answered(expires_in=0), "no positive number"),
        (answered(expires_in=-5), "no positive number"),
        (answered(expires_in=True), "no positive number"),
        (answered(expires_in="soon"), "no positive number"),
        (HttpResponse(200, None, b"[]"), "no JSON object"),
        (HttpResponse(200, None, MARKER.encode()), "no JSON"),
        (HttpResponse(200, None, b"\xff\xfe\xfd"), "no JSON"),
        (HttpResponse(400, None, b'{"error": "invalid_client"}'), "it answered 400 invalid_client"),
        (answered(400, error=MARKER), "it answered 400$"),
        (HttpResponse(401, None, MARKER.encode()), "it answered 401$"),
        (HttpResponse(302, None, b""), "it answered 302$"),
        (HttpFailure("no-response", "no answer within 10 s"), "no answer within 10 s"),
    ],
)
async def test_any_other_answer_gives_the_reason_and_repeats_nothing_of_it(
    tmp_path: Path, answer: HttpResponse | HttpFailure, reason: str
) -> None:
    client, post = requests(tmp_path, answer)
    with pytest.raises(TokenRefused, match=reason) as raised:
        await client.request(RULE)
    assert MARKER not in str(raised.value)
    assert "https://auth.example" in str(raised.value)
    assert len(post.urls) == 1


async def test_a_wait_that_the_server_asks_for_is_passed_on(tmp_path: Path) -> None:
    client, _ = requests(tmp_path, HttpResponse(429, 17.0, b""))
    with pytest.raises(TokenRefused) as raised:
        await client.request(RULE)
    assert raised.value.retry_after_s == 17.0


async def test_without_a_key_the_log_has_the_reason_and_the_subscriber_has_none_of_it(tmp_path: Path) -> None:
    client, post = requests(tmp_path, answered())
    (tmp_path / "a" / "keys.json").unlink()
    with pytest.raises(TokenRefused, match="its log says why") as raised:
        await client.request(RULE)
    assert str(tmp_path) not in str(raised.value)
    assert post.urls == []


@pytest.mark.parametrize(
    ("configuration", "url"),
    [
        ({"token_endpoint": "https://auth.example/t"}, "https://auth.example/t"),
        ({"token_endpoint": "oauth/t"}, "https://ehr.example/fhir/oauth/t"),
        (
            {"token_endpoint": "/oauth/t", "token_endpoint_auth_methods_supported": None},
            "https://ehr.example/oauth/t",
        ),
    ],
)
async def test_discovery_names_the_token_endpoint(
    tmp_path: Path, configuration: dict[str, Any], url: str
) -> None:
    client, post = requests(tmp_path, answered(), configuration)
    await client.request(DISCOVERED)
    await client.request(DISCOVERED)
    assert post.urls == [url, url]


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ({}, "names no token_endpoint"),
        ([], "no JSON object"),
        (
            {"token_endpoint": "x", "token_endpoint_auth_methods_supported": ["client_secret_basic"]},
            "does not offer private_key_jwt",
        ),
        (
            {"token_endpoint": "x", "token_endpoint_auth_signing_alg_values_supported": ["RS256"]},
            "does not offer ES384",
        ),
    ],
)
async def test_a_server_that_does_not_offer_what_the_broker_can_is_not_asked(
    tmp_path: Path, configuration: object, reason: str
) -> None:
    client, post = requests(tmp_path, answered(), configuration)
    with pytest.raises(TokenRefused, match=reason):
        await client.request(DISCOVERED)
    assert post.urls == []
