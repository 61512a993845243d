"""SMART scopes: what a client may do with which resource types (version 2 of the syntax; version 1 is read
too).

`Scope` is the one value for a scope, wherever one is requested, granted, or needed by a row of a table.
`covers` is the only comparison. Everything here is pure.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Self, get_args
from urllib.parse import unquote

ScopeContext = Literal["patient", "user", "system"]
Permission = Literal["c", "r", "u", "d", "s"]
Restriction = tuple[str, tuple[str, ...]]
"""A search parameter of the suffix, and the values of which a resource must have at least one."""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
ANY_TYPE = "*"

_SYNTAX = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]*)\.([a-z]+|\*)(?:\?(.*))?", re.DOTALL)
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
_VERSION_2 = re.compile(r"c?r?u?d?s?")


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope. `permissions` are letters of `cruds` in this order, at least one.

    With `restrictions` it is for resources that meet all of them. `text` is how it was written; two scopes
    that mean the same are equal however they are written.
    """

    context: str
    resource_type: str
    permissions: str
    restrictions: tuple[Restriction, ...] = ()
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError`, with the reason, for a text that is not a scope."""
        parts = _SYNTAX.fullmatch(text)
        if parts is None:
            raise ValueError(f"{text!r} is not a SMART scope, such as system/Observation.rs")
        context, resource_type, letters, suffix = parts.groups()
        if letters in _VERSION_1 and suffix is not None:
            raise ValueError(f"{text!r} has a restriction, which scopes of version 1 do not have")
        permissions = _VERSION_1.get(letters, letters)
        if not _VERSION_2.fullmatch(permissions):
            raise ValueError(f"{text!r} has other permissions than the letters of cruds in this order")
        return cls(context, resource_type, permissions, _restrictions(text, suffix), text)

    @property
    def letters(self) -> tuple[Permission, ...]:
        return tuple(letter for letter in PERMISSIONS if letter in self.permissions)

    def __str__(self) -> str:
        return self.text or f"{self.context}/{self.resource_type}.{self.permissions}"

    def parts(self) -> Iterator["Scope"]:
        """The smallest scopes that together mean the same: one permission, and one value a restriction."""
        choices = [[(name, (value,)) for value in values] for name, values in self.restrictions]
        for letter, restrictions in itertools.product(self.permissions, itertools.product(*choices)):
            yield Scope(self.context, self.resource_type, letter, restrictions)

    def contains(self, part: "Scope") -> bool:
        """Whether all that a part allows is allowed."""
        return (
            self.context == part.context
            and self.resource_type in {ANY_TYPE, part.resource_type}
            and part.permissions in self.permissions
            and all(
                any(name == other and set(allowed) <= set(values) for other, allowed in part.restrictions)
                for name, values in self.restrictions
            )
        )


Scopes = frozenset[Scope]


def parse_scopes(text: str) -> Scopes:
    """The scopes of a list separated by spaces. Raises `ValueError` for the first that is not a scope."""
    return frozenset(Scope.parse(word) for word in text.split())


@lru_cache(maxsize=4096)
def covers(granted: Scopes, needed: Scope) -> bool:
    """Whether the granted scopes together allow all that the needed one does.

    A granted scope with a restriction covers a needed one only if that has the same restriction, or a
    narrower one.
    """
    return all(any(scope.contains(part) for scope in granted) for part in needed.parts())


Alternatives = tuple[tuple[Restriction, ...], ...]


@lru_cache(maxsize=4096)
def alternatives(granted: Scopes, resource_type: str, permission: Permission) -> Alternatives:
    """Under which restrictions a permission of a system is granted for a type: those of each scope that
    grants it, `((),)` without any, and `()` where none does.
    """
    found = {
        scope.restrictions
        for scope in granted
        if scope.context == "system"
        and scope.resource_type in {ANY_TYPE, resource_type}
        and permission in scope.permissions
    }
    return ((),) if () in found else tuple(sorted(found))


def _restrictions(text: str, suffix: str | None) -> tuple[Restriction, ...]:
    if suffix is None:
        return ()
    restrictions: set[Restriction] = set()
    for pair in suffix.split("&"):
        name, _, value = pair.partition("=")
        values = tuple(sorted({unquote(each) for each in value.split(",")}))
        if not name or not all(values) or "\\" in value:
            raise ValueError(f"{text!r} has a restriction that is not of the form parameter=value")
        restrictions.add((name, values))
    return tuple(sorted(restrictions))
