"""What a producer has to handle.

ClientError
├── NotSent            no request of all attempts was answered for good; send the message again later
├── BufferFull         the buffer is at its bound, or its disk is; the message is not in it
├── BufferInUse        another process has the buffer open
└── BufferUnusable     the file is no buffer, or it is damaged
"""

from broker.errors import BrokerError


class ClientError(BrokerError):
    """Base of the errors of a producer."""


class NotSent(ClientError):  # noqa: N818 named after the condition, as are those below
    """No attempt got an answer that settles the message. It may have reached the broker."""


class BufferFull(ClientError):  # noqa: N818
    """The message was not added. Send what waits, or discard refused messages, and try again."""


class BufferInUse(ClientError):  # noqa: N818
    """A buffer belongs to one process at a time, so that nothing is sent twice and the order is kept."""


class BufferUnusable(ClientError):  # noqa: N818
    """SQLite cannot use the file. The message has its reason."""
