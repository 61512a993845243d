"""Reads the preconditions of a request: the headers of HTTP, or the members of a Bundle entry's request.

What is not understood is refused: a precondition that is ignored overwrites or duplicates a resource. Called
by the HTTP API and the decoder of transactions.
"""

import re

from broker.errors import Issue, Malformed
from broker.model.precondition import ANY, VersionCondition

_ETAG = r'(?:W/)?(?:"[\x21\x23-\x7e\x80-\xff]*"|[0-9]+)'
_ETAGS = re.compile(rf"\s*{_ETAG}(?:\s*,\s*{_ETAG})*\s*")


def version_condition(if_match: str | None, if_none_match: str | None) -> VersionCondition:
    """The condition of If-Match and If-None-Match; None for one that was not sent. Raises `Malformed`.

    FHIR's ETags are weak, and clients send them as strong ones too: both name the version.
    """
    return VersionCondition(
        "" if if_match is None else parse_etags("If-Match", if_match),
        "" if if_none_match is None else parse_etags("If-None-Match", if_none_match),
    )


def parse_etags(header: str, text: str) -> str:
    """The versions that the ETags name, separated by blanks, or `*`. Raises `Malformed`."""
    if text.strip() == ANY:
        return ANY
    if not _ETAGS.fullmatch(text):
        raise Malformed(Issue("value", f'{header} is {text!r}. Send * or ETags such as W/"3".'))
    return " ".join(tag.strip().removeprefix("W/").strip('"') or '""' for tag in _split(text))


def _split(text: str) -> list[str]:
    return re.findall(_ETAG, text)
