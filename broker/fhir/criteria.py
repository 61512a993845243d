"""Search criteria by which a conditional request or reference names a resource: `identifier` and `_id`.

The broker has an index of identifiers and no other. Criteria that this index cannot answer are refused with
the parameter's name: ignoring one would update, delete or duplicate another resource than the client means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from broker.errors import Issue, Malformed, PreconditionFailed, Unprocessable
from broker.fhir.identifiers import IdentifierToken, identifiers
from broker.model.resource import Resource

RESPONSE_PARAMETERS = frozenset({"_format", "_pretty", "_summary", "_elements"})
"""Parameters that shape the response and select nothing; clients add them to every URL."""
_ALTERNATIVES = re.compile(r"(?:[^\\,]|\\.)+", re.DOTALL)
_PARTS = re.compile(r"((?:[^\\|]|\\.)*)\|(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\,|$])")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ABSOLUTE = re.compile(r"https?://[^?#]*/")


@dataclass(frozen=True, slots=True)
class Criteria:
    """A resource meets the criteria if it meets one alternative of each term."""

    identifiers: tuple[tuple[IdentifierToken, ...], ...] = ()
    ids: tuple[frozenset[str], ...] = ()
    text: str = ""

    def is_met_by(self, resource_id: str, resource: Resource) -> bool:
        """Whether the resource of that id meets every term."""
        own = identifiers(resource)
        return all(resource_id in ids for ids in self.ids) and all(
            any(token.matches(identifier) for token in alternatives for identifier in own)
            for alternatives in self.identifiers
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What concurrent requests for the same resource have in common, in whatever form they name it."""
        values = {token.value for alternatives in self.identifiers for token in alternatives}
        return tuple(sorted(f"identifier {value}" for value in values)) or tuple(
            sorted(f"id {each}" for ids in self.ids for each in ids)
        )


def parse_condition(text: str, resource_type: str, name: str = "If-None-Exist") -> Criteria:
    """The criteria of If-None-Exist or of a reference. Raises `Malformed`, `Unprocessable` or
    `PreconditionFailed`.
    """
    return parse_criteria(condition_parameters(text, resource_type, name), name)


def condition_parameters(text: str, resource_type: str, name: str = "If-None-Exist") -> list[tuple[str, str]]:
    """The search parameters of `identifier=…`, `?identifier=…`, `Patient?identifier=…`, or the absolute URL
    of such a search. Raises `Malformed`.
    """
    path, mark, query = text.strip().partition("?")
    if not mark or "=" in path.partition("://")[0]:
        path, query = "", text.strip()
    searched = _ABSOLUTE.sub("", path, count=1).strip("/")
    if searched not in {"", resource_type}:
        raise Malformed(
            Issue("value", f"{name} searches {searched!r}. Search {resource_type}, or send only criteria.")
        )
    return _parameters(query, name)


def parse_criteria(parameters: Iterable[tuple[str, str]], name: str) -> Criteria:
    """The criteria of decoded search parameters.

    Raises `Unprocessable` for one that the identifier index cannot answer, and `PreconditionFailed` where
    there are none: without criteria every resource would match.
    """
    terms: list[tuple[IdentifierToken, ...]] = []
    ids: list[frozenset[str]] = []
    texts: list[str] = []
    for parameter, value in parameters:
        if parameter in RESPONSE_PARAMETERS:
            continue
        texts.append(f"{parameter}={value}")
        match parameter:
            case "identifier":
                terms.append(tuple(_token(each, name) for each in _alternatives(value)))
            case "_id":
                ids.append(frozenset(_alternatives(value)))
                if not all(_ID.fullmatch(each) for each in ids[-1]):
                    raise _refused(
                        name, f"_id is {value!r}, which is not an id. Send ids separated by commas."
                    )
            case _:
                text = (
                    f"the parameter {parameter!r} cannot be evaluated. Send identifier=system|value or _id."
                )
                raise _refused(name, text)
        if not _alternatives(value):
            raise _refused(name, f"{parameter} has no value. Send {parameter}=system|value.")
    if not texts:
        text = f"{name}: there are no criteria. Send identifier=system|value or _id."
        raise PreconditionFailed(Issue("required", text))
    return Criteria(tuple(terms), tuple(ids), "&".join(texts))


def _parameters(query: str, name: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        text = f"{name} is {query!r}, which is not a query. Send identifier=system|value."
        raise Malformed(Issue("value", text)) from None


def _alternatives(value: str) -> list[str]:
    """The values between commas; an escaped comma belongs to its value. Escapes stay, for `_token`."""
    return _ALTERNATIVES.findall(value)


def _token(text: str, name: str) -> IdentifierToken:
    """`system|value`, `|value` (no system) or `value` (any system)."""
    parts = _PARTS.fullmatch(text)
    system = None if parts is None else _unescaped(parts[1])
    value = _unescaped(text if parts is None else parts[2])
    if not value:
        raise _refused(name, f"identifier is {text!r}, which has no value. Send identifier=system|value.")
    return IdentifierToken(system, value)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _refused(name: str, text: str) -> Unprocessable:
    return Unprocessable(Issue("not-supported", f"{name}: {text}"))
