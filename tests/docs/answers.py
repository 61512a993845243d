"""Compares a shown answer with the real one.

A shown answer is right if the real one is equal to it, where `…` stands for any text that differs from run to
run, such as an id or a time. In JSON, a member or an element `"…"` stands for any others that follow.
"""

import json
import re
from typing import Any

ANY = "…"


def difference(language: str, shown: str, real: str) -> str | None:
    """What of the shown answer is not in the real one; None if it is right."""
    match language:
        case "json":
            return _json_difference(shown, real)
        case "http":
            return _http_difference(shown, real)
        case _:
            if _fits(shown.strip(), real.strip()):
                return None
            return f"shown:\n{shown}\nreal:\n{real}"


def _fits(shown: str, real: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in shown.split(ANY))
    return re.fullmatch(pattern, real, re.DOTALL) is not None


def _json_difference(shown: str, real: str) -> str | None:
    try:
        document = json.loads(real)
    except ValueError:
        return f"the real answer is not JSON: {real[:500]!r}"
    found = _value_difference(json.loads(shown), document, "$")
    return found and f"{found}\nreal:\n{json.dumps(document, indent=2, ensure_ascii=False)}"


def _value_difference(shown: Any, real: Any, at: str) -> str | None:
    match shown:
        case dict():
            return _object_difference(shown, real, at) if isinstance(real, dict) else f"{at} is no object"
        case list():
            return _array_difference(shown, real, at) if isinstance(real, list) else f"{at} is no array"
        case str():
            is_right = isinstance(real, str) and _fits(shown, real)
        case _:
            is_right = shown == real
    return None if is_right else f"{at} is {real!r}, shown is {shown!r}"


def _object_difference(shown: dict[str, Any], real: dict[str, Any], at: str) -> str | None:
    members = {name: value for name, value in shown.items() if name != ANY}
    others = sorted(real.keys() - members.keys())
    if others and ANY not in shown:
        return f"{at} also has {', '.join(others)}"
    for name, value in members.items():
        if name not in real:
            return f"{at} has no {name}"
        if found := _value_difference(value, real[name], f"{at}.{name}"):
            return found
    return None


def _array_difference(shown: list[Any], real: list[Any], at: str) -> str | None:
    is_open = bool(shown) and shown[-1] == ANY
    elements = shown[:-1] if is_open else shown
    if len(real) < len(elements) or (len(real) > len(elements) and not is_open):
        return f"{at} has {len(real)} elements"
    for n, value in enumerate(elements):
        if found := _value_difference(value, real[n], f"{at}[{n}]"):
            return found
    return None


def _http_difference(shown: str, real: str) -> str | None:
    """The status line, the shown headers, and the body if one is shown. `curl -i` prints such answers."""
    shown_head, _, shown_body = shown.partition("\n\n")
    real_head, _, real_body = real.replace("\r\n", "\n").partition("\n\n")
    shown_lines, real_lines = shown_head.strip().splitlines(), real_head.splitlines()
    if not real_lines or shown_lines[0] != real_lines[0]:
        return f"shown {shown_lines[0]!r}, real:\n{real}"
    headers = [line.lower() for line in real_lines[1:]]
    for line in shown_lines[1:]:
        if not any(_fits(line.lower(), header) for header in headers):
            return f"no header is {line!r}; real:\n{real_head}"
    if not shown_body.strip():
        return None
    return _json_difference(shown_body, real_body)
