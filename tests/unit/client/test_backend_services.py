"""The client of SMART Backend Services: discovery, tokens that are kept and renewed, where they are sent."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from broker.client import BackendServices
from broker.errors import ConfigurationError
from tests.smart_clients import key_of

BASE = "https://server.example/fhir/r4"


class Server:
    """Answers discovery and token requests, and reads with the newest token."""

    def __init__(self, token_endpoint: str = f"{BASE}/auth/token", **answer: Any) -> None:
        self.token_endpoint = token_endpoint
        self.answer = {"token_type": "Bearer", "expires_in": 300, "scope": "s"} | answer
        self.tokens: Iterator[int] = iter(range(1, 100))
        self.newest = ""
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path.endswith("smart-configuration"):
            return httpx.Response(200, json={"token_endpoint": self.token_endpoint})
        if request.url.path.endswith("/token"):
            self.newest = f"token-{next(self.tokens)}"
            return httpx.Response(200, json=self.answer | {"access_token": self.newest})
        is_known = request.headers.get("Authorization") == f"Bearer {self.newest}"
        return httpx.Response(200 if is_known else 401)

    def client(self) -> httpx.Client:
        auth = BackendServices(BASE, "gateway", key_of("gateway"), "system/Observation.c")
        return httpx.Client(transport=httpx.MockTransport(self), auth=auth)

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def test_a_token_is_requested_once_and_kept() -> None:
    server = Server()
    with server.client() as client:
        for _ in range(3):
            assert client.get(f"{BASE}/Patient/1").status_code == 200
    assert server.paths == [
        "/fhir/r4/.well-known/smart-configuration",
        "/fhir/r4/auth/token",
        *["/fhir/r4/Patient/1"] * 3,
    ]
    form = parse_qs(server.requests[1].content.decode())
    assert form["scope"] == ["system/Observation.c"]
    assert "client_secret" not in form


def test_a_token_that_was_revoked_is_replaced_once_by_a_new_assertion() -> None:
    server = Server()
    with server.client() as client:
        client.get(f"{BASE}/Patient/1")
        server.newest = "another"
        assert client.get(f"{BASE}/Patient/1").status_code == 200
        forms = [request.content for request in server.requests if request.url.path.endswith("/token")]
        assert len({parse_qs(form.decode())["client_assertion"][0] for form in forms}) == 2


def test_a_401_to_a_new_token_is_the_answer() -> None:
    server = Server()

    def refuse(request: httpx.Request) -> httpx.Response:
        response = server(request)
        return httpx.Response(401) if request.url.path.endswith("/1") else response

    auth = BackendServices(BASE, "gateway", key_of("gateway"), "system/Observation.c")
    with httpx.Client(transport=httpx.MockTransport(refuse), auth=auth) as client:
        assert client.get(f"{BASE}/Patient/1").status_code == 401
    assert server.paths.count("/fhir/r4/auth/token") == 1


def test_a_token_about_to_expire_is_replaced() -> None:
    server = Server(expires_in=0)
    with server.client() as client:
        client.get(f"{BASE}/Patient/1")
        assert client.auth is not None
        client.auth._ends = 0.0  # type: ignore[attr-defined]  # as if its second had passed
        client.get(f"{BASE}/Patient/1")
    assert server.paths.count("/fhir/r4/auth/token") == 2


def test_a_relative_token_endpoint_is_resolved_against_the_base() -> None:
    server = Server(token_endpoint="auth/token")
    with server.client() as client:
        assert client.get(f"{BASE}/Patient/1").status_code == 200
    assert server.requests[1].url == f"{BASE}/auth/token"


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/fhir/r4/Patient/1",
        "http://server.example/fhir/r4/x",
        "https://server.example:8443/",
    ],
)
def test_a_token_is_not_sent_to_another_origin(url: str) -> None:
    server = Server()
    with server.client() as client:
        client.get(f"{BASE}/Patient/1")
        client.get(url)
    assert "Authorization" not in server.requests[-1].headers


def test_a_refusal_is_one_line_with_the_error_of_the_server() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("smart-configuration"):
            return httpx.Response(200, json={"token_endpoint": f"{BASE}/token"})
        return httpx.Response(400, json={"error": "invalid_scope", "error_description": "Not registered."})

    auth = BackendServices(BASE, "gateway", key_of("gateway"), "system/Observation.c")
    with (
        httpx.Client(transport=httpx.MockTransport(refuse), auth=auth) as client,
        pytest.raises(ConfigurationError, match=r"gateway \(400\): invalid_scope: Not registered\."),
    ):
        client.get(f"{BASE}/Patient/1")


def test_a_server_without_discovery_is_reported() -> None:
    auth = BackendServices(BASE, "gateway", key_of("gateway"), "system/Observation.c")
    transport = httpx.MockTransport(lambda _: httpx.Response(404))
    with (
        httpx.Client(transport=transport, auth=auth) as client,
        pytest.raises(ConfigurationError, match="offers no access tokens"),
    ):
        client.get(f"{BASE}/Patient/1")
