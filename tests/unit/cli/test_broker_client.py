"""Requests of the commands: the result, or one line with the reason of the broker."""

from collections.abc import Callable

import httpx
import pytest

from broker.cli.broker_client import (
    BrokerClient,
    Parts,
    as_plain,
    check_url,
    fhir_base,
    groups,
    request,
    value,
)
from broker.errors import ConfigurationError

PARTS: Parts = [
    {"name": "redriven", "valueInteger": 2},
    {"name": "problem", "part": [{"name": "id", "valueString": "a"}, {"name": "reason", "valueString": "x"}]},
    {"name": "problem", "part": [{"name": "id", "valueString": "b"}]},
]


def error_of(respond: Callable[[httpx.Request], httpx.Response]) -> str:
    with (
        httpx.Client(transport=httpx.MockTransport(respond)) as client,
        pytest.raises(ConfigurationError) as caught,
    ):
        request(client, "GET", "http://broker/r5/Subscription/a")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_parts_are_read_by_their_name() -> None:
    assert value(PARTS, "redriven") == 2
    assert value(PARTS, "missing") is None
    assert [value(problem, "id") for problem in groups(PARTS, "problem")] == ["a", "b"]


def test_parts_become_json_with_lists_of_groups() -> None:
    assert as_plain(PARTS) == {"redriven": 2, "problem": [{"id": "a", "reason": "x"}, {"id": "b"}]}


def test_a_refusal_is_reported_with_the_diagnostics_of_its_issues() -> None:
    outcome = {"issue": [{"diagnostics": "First."}, {"diagnostics": "Second."}]}
    message = error_of(lambda _: httpx.Response(404, json=outcome))
    assert message == "The broker refused the request (404): First. Second."


def test_a_response_that_is_not_fhir_is_reported_with_its_text() -> None:
    assert "(502): bad gateway" in error_of(lambda _: httpx.Response(502, text="bad gateway"))


def test_a_broker_that_does_not_answer_is_reported_with_what_to_do() -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    message = error_of(respond)
    assert "does not answer (connection refused)" in message
    assert "--base" in message


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://broker:8080", "http://broker:8080/r4"),
        ("http://broker:8080/", "http://broker:8080/r4"),
        ("http://broker/fhir", "http://broker/fhir/r4"),
        ("http://broker/r4", "http://broker/r4"),
        ("http://broker/r4b/", "http://broker/r4b"),
        ("http://broker/r5", "http://broker/r5"),
    ],
)
def test_the_url_of_the_broker_stands_for_its_r4_base(given: str, base: str) -> None:
    assert fhir_base(given) == base


@pytest.mark.parametrize("url", ["", "broker:8080", "ftp://broker", "http://", "http:///r4", "http://a b"])
def test_what_is_no_url_is_refused_with_its_option(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--base {url}.* is not a URL"):
        check_url("--base", url)


def test_a_proxy_page_instead_of_json_is_one_line() -> None:
    page = "<html>\n<body>bad\ngateway</body></html>"
    assert "<html> <body>bad gateway" in error_of(lambda _: httpx.Response(502, text=page))
    assert "does not answer in JSON" in error_of(lambda _: httpx.Response(200, text=page))


@pytest.mark.parametrize(
    "base", ["http://broker", "http://broker/", "http://broker/r4", "http://broker/r4b/"]
)
def test_every_base_of_a_broker_is_accepted(base: str) -> None:
    with BrokerClient(base, "system/Subscription.r") as broker:
        assert broker.url == "http://broker"
