"""The W3C trace context of a request (https://www.w3.org/TR/trace-context/): its header `traceparent`, as the
change and its events carry it. Each source reads it by `parse_traceparent`, so that nothing else is stored.
"""

import re

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_LENGTH = 55


def parse_traceparent(text: str) -> str:
    """The header in version 00; '' without one, and for one that is malformed, which a recipient ignores."""
    if not text or not _FORM.fullmatch(text) or (text.startswith("00") and len(text) != _LENGTH):
        return ""
    return f"00{text[2:_LENGTH]}"


def trace_id(traceparent: str) -> str:
    """The 32 hexadecimal digits that name the trace; '' without one."""
    return traceparent[3:35]


def parent_id(traceparent: str) -> str:
    """The 16 hexadecimal digits that name the span; '' without one."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether the flag `sampled` is set."""
    return bool(traceparent) and bool(int(traceparent[53:], 16) & 1)
