"""Tells at once that a text is no UCUM unit, without the library that knows what a unit means.

Devices send units that are none; each would otherwise load ucumvert, which takes a second.
"""

import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

_ANNOTATION = re.compile(r"\{[^{}]*\}")
_SEPARATOR = re.compile(r"[./()]")
_EXPONENT = re.compile(r"[+-]?\d+$", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)


class Atoms(NamedTuple):
    """The atoms of UCUM. Only metric ones have prefixes."""

    prefixes: frozenset[str]
    metric: frozenset[str]
    others: frozenset[str]


@lru_cache(maxsize=1)
def atoms() -> Atoms:
    """Those of `ucum_atoms.txt`: a line each for the prefixes, the metric atoms and the others."""
    text = files("broker.mapping").joinpath("ucum_atoms.txt").read_text(encoding="utf-8")
    return Atoms(*(frozenset(line.split()) for line in text.splitlines() if not line.startswith("# ")))


def may_be_ucum(code: str) -> bool:
    """Whether all components of the text are atoms of UCUM, with prefixes and exponents."""
    plain = _ANNOTATION.sub("", code)
    return all(_is_component(each) for each in _SEPARATOR.split(plain) if each)


def _is_component(text: str) -> bool:
    if _NUMBER.fullmatch(text) or _is_atom(text):
        return True
    return _is_atom(_EXPONENT.sub("", text))


def _is_atom(text: str) -> bool:
    known = atoms()
    if text in known.metric or text in known.others:
        return True
    return any(text[:n] in known.prefixes and text[n:] in known.metric for n in (1, 2))
