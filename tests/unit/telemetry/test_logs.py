"""Log lines: their format, and which values are masked."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from broker.telemetry import logs
from broker.telemetry.logs import redact_url


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("broker").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_json_line_contains_time_level_logger_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", json=True)
    structlog.get_logger("broker.delivery").warning("not delivered", subscription="s1", attempt=2)
    [line] = written(capsys)
    assert list(line) == ["time", "level", "logger", "message", "subscription", "attempt"]
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "broker.delivery",
        "message": "not delivered",
        "subscription": "s1",
        "attempt": 2,
    }


@pytest.mark.parametrize("json", [True, False])
def test_every_line_of_a_request_has_its_id(capsys: pytest.CaptureFixture[str], *, json: bool) -> None:
    logs.configure("info", json=json)
    with structlog.contextvars.bound_contextvars(request_id="gateway-7"):
        structlog.get_logger("broker.x").info("of the broker")
        logging.getLogger("uvicorn.error").error("of the server")
    structlog.get_logger("broker.x").info("of nobody")
    first, second, third = capsys.readouterr().err.splitlines()
    name = '"request_id": "gateway-7"' if json else "request_id=gateway-7"
    assert name in first
    assert name in second
    assert "request_id" not in third


def test_a_text_line_has_keys_and_values_and_is_always_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", json=False)
    structlog.get_logger("broker.x").info("two\nlines", reason='said "no"\nlevel=error', attempt=2, empty="")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.endswith(
        'Z info two\\nlines logger=broker.x reason="said \\"no\\"\\nlevel=error" attempt=2 empty=""\n'
    )


def test_events_below_the_level_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", json=True)
    structlog.get_logger("broker.x").info("quiet")
    assert written(capsys) == []
    logs.configure("debug", json=True)
    structlog.get_logger("broker.x").debug("loud")
    assert [line["message"] for line in written(capsys)] == ["loud"]


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Authorization",
        "headers",
        "header",
        "token",
        "access_token",
        "accessToken",
        "X-Auth-Token",
        "client_secret",
        "password",
        "PASSWORD",
        "body",
        "response_body",
        "cookie",
        "api_key",
        "apiKey",
    ],
)
def test_secrets_are_masked_by_key_at_any_depth(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    structlog.get_logger("broker.x").info("m", **{key: "hunter2"}, deep=[{"inner": {key: ("hunter2", "x")}}])
    [line] = written(capsys)
    assert line[key] == "***"
    assert line["deep"] == [{"inner": {key: "***"}}]


def test_keys_that_only_resemble_secrets_are_not_masked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    structlog.get_logger("broker.x").info("m", bodyguard="b", tokenizer="t", key="k", has_token=True)
    [line] = written(capsys)
    assert {k: line[k] for k in ("bodyguard", "tokenizer", "key", "has_token")} == {
        "bodyguard": "b",
        "tokenizer": "t",
        "key": "k",
        "has_token": True,
    }


def test_bytes_are_logged_by_their_length_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    structlog.get_logger("broker.x").info("m", document=b'{"resourceType":"Patient"}')
    assert written(capsys)[0]["document"] == "<26 bytes>"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ehr.example/hook", "https://ehr.example/hook"),
        ("https://u:p@ehr.example:8443/hook?key=1#x", "https://***@ehr.example:8443/hook?***"),
        ("redis://:pw@redis:6379/0", "redis://***@redis:6379/0"),
        ("https://a@b@c/", "https://***@c/"),
        ("https://[::1/", "***"),
        ("https://ehr.example/topic|1.0", "https://ehr.example/topic|1.0"),
    ],
)
def test_a_url_is_logged_without_user_password_and_query(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_urls_inside_messages_and_tracebacks_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    cause = ValueError("no answer from https://ehr.example/hook?key=hunter2")
    structlog.get_logger("broker.x").error(
        "failed at redis://u:hunter2@redis/0", why="x https://h/?hunter2", exc_info=cause
    )
    out = capsys.readouterr().err
    assert "hunter2" not in out
    assert "redis://***@redis/0" in out
    assert "ehr.example" not in out, "a traceback has no texts of errors"


def test_a_traceback_is_indented_below_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=False)
    structlog.get_logger("broker.x").error("failed", subscription="s1", exc_info=ValueError("first\nsecond"))
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("error failed logger=broker.x subscription=s1")
    assert rest
    assert all(line.startswith("    ") for line in rest)


@pytest.mark.parametrize("name", ["uvicorn.error", "aiohttp.client", "some.package"])
def test_warnings_of_other_libraries_are_logged_in_the_same_way(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", json=True)
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).error("broken: %s", "https://u:hunter2@h/", exc_info=ValueError("cause"))
    [line] = written(capsys)
    assert line["message"] == "broken: https://***@h/"
    assert line["logger"] == name
    assert line["level"] == "error"
    assert line["exception"] == "ValueError"


def test_configuring_twice_logs_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    logs.configure("info", json=True)
    structlog.get_logger("broker.x").info("once")
    assert len(written(capsys)) == 1


def test_a_traceback_has_places_and_types_of_errors_and_none_of_their_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read() -> None:
        try:
            int("marker-1")
        except ValueError as error:
            raise ExceptionGroup("marker-2", [KeyError("marker-3"), OSError("marker-4")]) from error

    logs.configure("info", json=True)
    try:
        read()
    except ExceptionGroup:
        structlog.get_logger("broker.x").exception("failed")
    [line] = written(capsys)
    trace = line["exception"]
    assert [type_ in trace for type_ in ("ValueError", "ExceptionGroup", "KeyError", "OSError")] == [True] * 4
    assert "in read" in trace
    # the lines of code that follow each place are this test's own
    shown = [text for text in trace.splitlines() if "marker" in text]
    assert all(text.strip().startswith(("int(", "raise ")) for text in shown), shown
