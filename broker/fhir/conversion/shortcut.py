"""Which bodies are the same bytes in the target release, told by one search over the bytes.

The names to look for come from the rules, so a new rule needs nothing here. The search may say "affected" of a body that
isn't, never the other way round: a name spelt with escapes counts as affected.
"""

import re
from collections.abc import Iterator
from functools import cache

from broker.fhir.conversion import complex_types
from broker.fhir.conversion.catalog import KINDS
from broker.fhir.conversion.datatypes import LACKS, NARROW, lacking
from broker.fhir.conversion.rules import Codes, Direction, Kind, capital
from broker.model.release import Release

_CARRIERS = rb"StructureDefinition\\?/(?:extension-|_datatype|alternate-reference)"
_REACHED_BY = {
    "Attachment": ("photo", "presentedForm", "document", "valueAttachment"),
    "Quantity": ("comparator",),
}


def is_alike(body: bytes, resource_type: str, direction: Direction) -> bool:
    """Whether the body is its own conversion."""
    search = _search(resource_type, direction)
    return search is not None and b"\\u" not in body and search.search(body) is None


@cache
def _search(resource_type: str, direction: Direction) -> re.Pattern[bytes] | None:
    """What to look for; None where no body of the type is alike."""
    crosses = Release.R5 in {direction.source, direction.target}
    concerned = [kind for kind in KINDS if _concerns(kind, resource_type)] if crosses else []
    if any(_adds(kind, direction) for kind in concerned if kind.old == resource_type):
        return None
    names = {name for kind in concerned for name in _names(kind, resource_type, direction)}
    names |= {"contained"} | {f"value{capital(kind)}" for release in Release for kind in LACKS[release]}
    types = set(lacking(direction.target)) | {
        kind
        for path, kinds in NARROW[direction.target].items()
        if path.startswith((f"{resource_type}.", "Annotation."))
        for kind in kinds
    }
    parts = [rb"_?(?:" + _any(names) + rb')"', rb"(?:" + _any(types) + rb')["/\\]', _CARRIERS]
    return re.compile(
        rb'["/](?:' + b"|".join(parts) + rb")"
    )  # all begin alike: thrice as fast as if they did not


def _concerns(kind: Kind, resource_type: str) -> bool:
    return kind in complex_types.KINDS or kind.old.split(".")[0] == resource_type


def _names(kind: Kind, resource_type: str, direction: Direction) -> Iterator[str]:
    """Members by which something at the kind is affected."""
    if kind in complex_types.KINDS:
        if kind.rules:
            yield from _REACHED_BY.get(kind.old, (f"value{kind.old}",))
        return
    path = kind.old if direction.to_new else kind.new
    if kind.old != resource_type and _adds(kind, direction):
        yield path.rsplit(".", maxsplit=1)[-1]
    for rule in kind.rules:
        if isinstance(rule, Codes):
            yield rule.name
        else:
            fields = rule.old if direction.to_new else rule.new
            yield from (name for one in fields for name, _ in one.members())


def _adds(kind: Kind, direction: Direction) -> bool:
    """Whether something appears where nothing was: an element that the target requires."""
    changes = [
        rule.to_new if direction.to_new else rule.to_old for rule in kind.rules if not isinstance(rule, Codes)
    ]
    return any(change({}) for change in changes)


def _any(words: set[str]) -> bytes:
    return "|".join(sorted(words)).encode()
