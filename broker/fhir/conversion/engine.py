"""Carries a resource over: brings extensions into a common form, applies the rules from the inside out, writes the target's form.

The law, for each rule: if the best guess taken back gives the very same elements, it stands alone; else the source
elements are kept whole in cross-version extensions beside it. On the way back, extensions are taken for the elements
they hold only if those would come out as exactly what is there. So there and back is the same, whichever comes first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from broker.fhir.conversion.carriers import read, write
from broker.fhir.conversion.catalog import inside, kind_at
from broker.fhir.conversion.datatypes import (
    ALTERNATE,
    banned,
    decoded,
    encoded,
    unwrapped,
    wrapped,
)
from broker.fhir.conversion.rules import Change, Codes, Direction, Field, Kind, Node, NotConvertible, Rule
from broker.model.release import Release

_PREFIX = {
    Release.R4: "http://hl7.org/fhir/4.0/StructureDefinition/extension-",
    Release.R4B: "http://hl7.org/fhir/4.3/StructureDefinition/extension-",
    Release.R5: "http://hl7.org/fhir/5.0/StructureDefinition/extension-",
}


def carried_over(resource: Node, direction: Direction) -> Node:
    """The resource, without contained ones, in the target release. Raises `NotConvertible`."""
    path: str = resource["resourceType"]
    tree = _inward(resource, path, direction)
    if Release.R5 in {direction.source, direction.target}:
        tree = _apply(tree, path, direction)
    return _outward(tree, path, direction)


def _each(value: Any, change: Callable[[Node], Any]) -> Any:
    """The objects of a member changed, be it one or a list."""
    if isinstance(value, dict):
        return change(value)
    if isinstance(value, list):
        return [change(one) if isinstance(one, dict) else one for one in value]
    return value


def _inward(node: Node, path: str, direction: Direction) -> Node:
    source = direction.source
    found: Node = {}
    for name, value in node.items():
        inner = inside(path, name, source)
        child = _each(value, partial(_inward, path=inner, direction=direction))
        found[name] = _each(child, partial(unwrapped, kinds=banned(f"{path}.{name}", source)))
    return decoded(found, source, direction.target) if path == "Extension" else found


def _outward(node: Node, path: str, direction: Direction) -> Node:
    target = direction.target
    if path == "Extension":
        node = encoded(node, target)
    found: Node = {}
    for name, value in node.items():
        inner = inside(path, name, target)
        child = _each(value, partial(_outward, path=inner, direction=direction))
        if node.get("url") != ALTERNATE:
            child = _each(child, partial(wrapped, kinds=banned(f"{path}.{name}", target)))
        found[name] = child
    return found


def _apply(node: Node, path: str, direction: Direction) -> Node:
    changed: Node = {}
    for name, value in node.items():
        inner = inside(path, name, direction.source)
        changed[name] = _each(value, partial(_apply, path=inner, direction=direction))
    if not path and ("comparator" in node or "_comparator" in node):
        path = "Quantity"
    kind = kind_at(path, direction)
    if kind is None:
        return changed
    for rule in kind.rules:
        changed = (
            _recoded(changed, rule, kind, direction)
            if isinstance(rule, Codes)
            else _moved(changed, rule, kind, direction)
        )
    if not changed:
        raise NotConvertible(f"nothing is left of {path}")
    return changed


def _moved(node: Node, rule: Rule, kind: Kind, direction: Direction) -> Node:
    there, back = (rule.to_new, rule.to_old) if direction.to_new else (rule.to_old, rule.to_new)
    mine, theirs = (rule.old, rule.new) if direction.to_new else (rule.new, rule.old)
    given = {name: node[name] for name in _names(mine) if name in node}
    extensions: list[Node] = node.get("extension", [])
    blocked = any(name.startswith(rule.alternatives) for name in node.keys() - given.keys())
    for prefix in () if blocked else _prefixes(kind, direction.target, direction):
        carriers = [one for field in theirs for one in extensions if one.get("url") == prefix + field.name]
        restored = read(prefix, theirs, carriers) if carriers else None
        if restored is not None and _told(restored, back, there, prefix, theirs) == (given, carriers):
            left = [one for one in extensions if one not in carriers]
            return _with_extensions(_replaced(node, given, restored), left)
    (prefix, *_) = _prefixes(kind, direction.source, direction)
    best, written = _told(given, there, back, prefix, mine)
    if any(one.get("url") == new["url"] for one in extensions for new in written):
        raise NotConvertible(f"{written[0]['url']} is there already")
    if not written:
        return node if best == given else _replaced(node, given, best)
    return _with_extensions(_replaced(node, given, best), extensions + written)


def _told(
    given: Node, there: Change, back: Change, prefix: str, fields: tuple[Field, ...]
) -> tuple[Node, list[Node]]:
    """The elements of the other side, and the extensions they need besides."""
    best = there(given)
    return best, [] if back(best) == given else write(prefix, fields, given)


def _recoded(node: Node, rule: Codes, kind: Kind, direction: Direction) -> Node:
    there, back = (rule.to_new, rule.to_old) if direction.to_new else (rule.to_old, rule.to_new)
    code = node.get(rule.name)
    sibling: Node = node.get(f"_{rule.name}", {})
    extensions: list[Node] = sibling.get("extension", [])
    for prefix in _prefixes(kind, direction.target, direction):
        carriers = [one for one in extensions if one.get("url") == prefix + rule.name]
        kept = carriers[0].get("valueCode") if len(carriers) == 1 and len(carriers[0]) == 2 else None
        if isinstance(kept, str) and back(kept) == code and (code is None or there(code) != kept):
            left = [one for one in extensions if one not in carriers]
            return _with_code(node, rule.name, kept, _with_extensions(sibling, left))
    if not isinstance(code, str):
        return node
    best = there(code)
    if best is not None and back(best) == code:
        return _with_code(node, rule.name, best, sibling) if best != code else node
    (prefix, *_) = _prefixes(kind, direction.source, direction)
    carrier = {"url": prefix + rule.name, "valueCode": code}
    if any(one.get("url") == carrier["url"] for one in extensions):
        raise NotConvertible(f"{carrier['url']} is there already")
    return _with_code(node, rule.name, best, _with_extensions(sibling, [*extensions, carrier]))


def _prefixes(kind: Kind, release: Release, direction: Direction) -> tuple[str, ...]:
    """What the urls of elements of the release begin with; R4B also reads what R4 wrote, and the other way round."""
    if release is Release.R5:
        return (f"{_PREFIX[release]}{kind.new}.",)
    own, other = (Release.R4, Release.R4B) if release is Release.R4 else (Release.R4B, Release.R4)
    own_only = release is direction.source
    return tuple(f"{_PREFIX[one]}{kind.old}." for one in ((own,) if own_only else (own, other)))


def _names(fields: tuple[Field, ...]) -> list[str]:
    members = [name for one in fields for name, _ in one.members()]
    return [name for member in members for name in (member, f"_{member}")]


def _replaced(node: Node, given: Node, wanted: Node) -> Node:
    """The node with the wanted members in the places of the given ones, as far as these go, or at its end."""
    moved = {name: value for name, value in wanted.items() if name not in node}
    found: Node = {}
    for name, value in node.items():
        if name not in given:
            found[name] = value
        elif name in wanted:
            found[name] = wanted[name]
        else:
            found |= moved
    return found | wanted


def _with_extensions(node: Node, extensions: list[Node]) -> Node:
    if extensions:
        return {**node, "extension": extensions}
    return {name: value for name, value in node.items() if name != "extension"}


def _with_code(node: Node, name: str, code: str | None, sibling: Node) -> Node:
    wanted: Node = {} if code is None else {name: code}
    if sibling:
        wanted[f"_{name}"] = sibling
    return _replaced(node, {name: None, f"_{name}": None}, wanted)
