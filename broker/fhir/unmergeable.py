"""The error of a reading that cannot be merged into the Observation of its window."""


class Unmergeable(Exception):  # noqa: N818 a property of the reading and of what is stored
    """`code` is a FHIR issue type; the text says what to do next and has no value."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
