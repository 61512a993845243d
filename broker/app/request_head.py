"""Limits the head of an HTTP request: its URL and its headers. Uvicorn's parser has no limit of its own, and
keeps what it has read of a head until the head is complete.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
_REFUSAL = (
    f"The URL and the headers have more than {MAX_HEAD_BYTES} bytes together. Send fewer or shorter ones."
)


class BoundedHeadProtocol(HttpToolsProtocol):
    """Answers 431 and closes the connection where a head is larger than the limit.

    A head that is not complete may exceed the limit by what one read from the socket brings.
    """

    _head_bytes = 0
    _is_in_head = False
    _has_begun = False

    def data_received(self, data: bytes) -> None:
        """Feeds the parser."""
        self._has_begun = False
        before = self._head_bytes
        super().data_received(data)
        if self._is_in_head and not self._has_begun and not self.transport.is_closing():
            # with what is not yet a complete header
            self._head_bytes = before + len(data)
            if self._is_too_large:
                self.send_400_response(_REFUSAL)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._head_bytes, self._is_in_head, self._has_begun = 0, True, True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header that is complete."""
        self._count(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What follows is the body."""
        self._is_in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, and a head that is too large."""
        if not self._is_too_large:
            super().send_400_response(msg)
            return
        body = _REFUSAL.encode()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()

    @property
    def _is_too_large(self) -> bool:
        return self._head_bytes > MAX_HEAD_BYTES

    def _count(self, *parts: bytes) -> None:
        self._head_bytes += sum(map(len, parts))
        if self._is_too_large:
            raise httptools.HttpParserError(_REFUSAL)
