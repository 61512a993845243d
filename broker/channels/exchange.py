"""What a channel reports about one attempt besides its outcome: what it sent, and what was answered.

The log of attempts reads it, also where the attempt was cancelled meanwhile. A channel that makes several
requests in an attempt reports each; the last one stays.
"""

Headers = tuple[tuple[str, str], ...]
MAX_ANSWER_BYTES = 1_024


class Exchange:
    """Of one attempt. The headers are as they were sent: who reads them masks their values. `headers` are the
    same in each attempt, `attempt_headers` are not.
    """

    __slots__ = ("answer", "attempt_headers", "body", "headers", "status")

    def __init__(self) -> None:
        self.headers: Headers = ()
        self.attempt_headers: Headers = ()
        self.body: bytes | None = None
        self.status = 0
        self.answer = b""

    def sent(self, body: bytes, headers: Headers = (), attempt_headers: Headers = ()) -> None:
        """A request is about to be sent."""
        self.headers, self.attempt_headers, self.body = headers, attempt_headers, body
        self.status, self.answer = 0, b""

    def answered(self, status: int, answer: bytes) -> None:
        """It was answered with this HTTP status; of the answer the first bytes are kept."""
        self.status, self.answer = status, answer[:MAX_ANSWER_BYTES]
