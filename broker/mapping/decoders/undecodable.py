"""A payload that a decoder can't read."""


class Undecodable(Exception):  # noqa: N818 a property of the payload, for the caller to report
    """`place` says where in the payload; the text says what is wrong there, and never quotes a value."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(text)
        self.place = place
