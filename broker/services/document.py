"""A text that a service makes for people to keep."""

from typing import NamedTuple


class Document(NamedTuple):
    """With the name that a file of it has."""

    text: str
    media_type: str
    filename: str
