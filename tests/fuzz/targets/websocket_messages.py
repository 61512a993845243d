"""Messages of websocket clients: each is understood or reported as not understood."""

from broker.api.websockets import _parse
from tests.fuzz.target import Target, text_of


def check(data: bytes) -> None:
    command = _parse(text_of(data))
    if command is not None and command.since is not None:
        assert isinstance(command.since, int)


TARGET = Target(
    check,
    [
        "bind-with-token: abc",
        "bind-with-token abc 17",
        "bind a \u00b2",
        '{"type":"bind-with-token","payload":{"token":"abc","eventsSinceNumber":"3"}}',
        '{"type":"bind-with-token","payload":{"token":"abc","eventsSinceNumber":1e400}}',
        '{"type":"ping"}',
        '{"type":"a","payload":' + "[" * 1900,
        '{"type":"a","payload":{"token":"t","eventsSinceNumber":' + "9" * 1900 + "}}",
        "",
        "{",
        "null",
    ],
    """
    "payload": "token": "eventsSinceNumber": bind-with-token Infinity NaN 1e999
    """,
)
