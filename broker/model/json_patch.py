"""JSON Patch (RFC 6902) on JSON text: all operations or none, and numbers keep their spelling.

`parse_json_patch` checks a document from outside. `JsonPatch.apply` raises `Unprocessable` that names the
operation which cannot be carried out; a `test` that fails is one. What the result means is for the caller to
check. `ingest/patches.py` calls both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from broker.errors import Issue, Malformed, Unprocessable
from broker.model import json_text

MAX_OPERATIONS = 1_000
MAX_COPIED_BYTES = 1 << 20
"""How much the `copy` operations of one patch may add: each may double what the one before has copied."""
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_INVALID_ESCAPE = re.compile(r"~(?![01])")
_OPS = frozenset({"add", "remove", "replace", "move", "copy", "test"})
_WITH_VALUE = frozenset({"add", "replace", "test"})
_WITH_FROM = frozenset({"move", "copy"})

Pointer = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Operation:
    """`value` is a tree of `json_text.decode_exact`."""

    op: str
    path: Pointer
    source: Pointer = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class JsonPatch:
    """A checked patch; `text` is the document."""

    text: bytes
    operations: tuple[_Operation, ...]

    def apply(self, text: bytes) -> bytes:
        """The patched text of a checked JSON object. Raises `Unprocessable`."""
        document = _Document(json_text.decode_exact(text))
        try:
            for n, operation in enumerate(self.operations):
                document.apply(n, operation)
            return document.text()
        except RecursionError:
            raise Unprocessable(Issue("too-costly", "The result nests too deep. Copy less.")) from None


def parse_json_patch(text: bytes) -> JsonPatch:
    """Raises `Malformed` for what is not a JSON Patch, `Unprocessable` for too many operations."""
    wrapped = b'{"patch":' + text + b"}"
    patch = json_text.decode_received(wrapped)["patch"]
    is_whole = json_text.members(wrapped)["patch"] == text.strip()
    if not is_whole or not isinstance(patch, list) or not all(isinstance(each, dict) for each in patch):
        raise Malformed(Issue("structure", "A JSON Patch is an array of operations. Send an array."))
    if len(patch) > MAX_OPERATIONS:
        reason = f"The patch has more than {MAX_OPERATIONS} operations. Send it in parts."
        raise Unprocessable(Issue("too-costly", reason))
    exact = json_text.decode_exact(wrapped)["patch"]
    return JsonPatch(text, tuple(_operation(n, each) for n, each in enumerate(exact)))


def _operation(n: int, members: Mapping[str, Any]) -> _Operation:
    op = members.get("op")
    if not isinstance(op, str) or op not in _OPS:
        text = f"The op of operation {n} is {str(op)[:40]!r}. Use one of {', '.join(sorted(_OPS))}."
        raise Malformed(Issue("value", text))
    if op in _WITH_VALUE and "value" not in members:
        raise Malformed(Issue("required", f"Operation {n} ({op}) has no value. Send one."))
    source = _pointer(n, op, members, "from") if op in _WITH_FROM else ()
    return _Operation(op, _pointer(n, op, members, "path"), source, members.get("value"))


def _pointer(n: int, op: str, members: Mapping[str, Any], name: str) -> Pointer:
    pointer = members.get(name)
    if not isinstance(pointer, str) or (pointer and pointer[0] != "/") or _INVALID_ESCAPE.search(pointer):
        text = f"The {name} of operation {n} ({op}) is not a JSON Pointer. Send one such as /name/0/family."
        raise Malformed(Issue("value", text))
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in pointer.split("/")[1:])


class _NotApplicable(Exception):  # noqa: N818 turned into the error of the operation at once
    """Why an operation cannot be carried out, and what to do next."""


class _Document:
    """A document between operations."""

    def __init__(self, root: Any) -> None:
        self._holder = {"": root}
        self._copied = 0

    def text(self) -> bytes:
        return json_text.encode(self._holder[""])

    def apply(self, n: int, operation: _Operation) -> None:
        """Carries out operation number `n`; raises `Unprocessable`."""
        try:
            self._apply(operation)
        except _NotApplicable as error:
            name = f"Operation {n} ({operation.op} {_spelled(operation.path)})"
            raise Unprocessable(Issue("processing", f"{name} can't be applied: {error}")) from None

    def _apply(self, operation: _Operation) -> None:
        match operation:
            case _Operation("add", path, _, value):
                self._add(path, value)
            case _Operation("remove", path):
                self._remove(path)
            case _Operation("replace", path, _, value):
                container, key = self._find(path)
                container[key] = value
            case _Operation("move", path, source):
                self._move(path, source)
            case _Operation("copy", path, source):
                self._add(path, self._copy(source))
            case _Operation("test", path, _, value):
                container, key = self._find(path)
                if not _is_equal(container[key], value):
                    raise _NotApplicable("the value there is another one. Read the resource again.")

    def _add(self, path: Pointer, value: Any) -> None:
        container, segment = self._parent(path)
        if isinstance(container, list):
            container.insert(len(container) if segment == "-" else _index(segment, len(container) + 1), value)
        else:
            container[segment] = value

    def _remove(self, path: Pointer) -> Any:
        if not path:
            raise _NotApplicable("the whole document can't be removed. Send DELETE.")
        container, key = self._find(path)
        return container.pop(key)

    def _move(self, path: Pointer, source: Pointer) -> None:
        if path[: len(source)] == source and path != source:
            raise _NotApplicable("a value can't be moved into itself. Choose another path.")
        container, key = self._find(source)
        if path == source:
            return
        value = container[key]
        self._remove(source)
        self._add(path, value)

    def _copy(self, source: Pointer) -> Any:
        container, key = self._find(source)
        text = json_text.encode([container[key]])
        self._copied += len(text)
        if self._copied > MAX_COPIED_BYTES:
            raise _NotApplicable(f"the patch copies more than {MAX_COPIED_BYTES} bytes. Copy less.")
        return json_text.decode_exact(text)[0]

    def _find(self, path: Pointer) -> tuple[Any, Any]:
        """The container of an existing value, and its key there."""
        container, segment = self._parent(path)
        if isinstance(container, list):
            return container, _index(segment, len(container))
        if segment not in container:
            raise _NotApplicable("there is nothing at the path. Read the resource again.")
        return container, segment

    def _parent(self, path: Pointer) -> tuple[Any, str]:
        """The object or array that has or gets the value, and the last segment."""
        container: Any = self._holder
        *outer, last = ("", *path)
        for segment in outer:
            if isinstance(container, list):
                container = container[_index(segment, len(container))]
            elif segment in container:
                container = container[segment]
            else:
                raise _NotApplicable(f"there is no {segment!r} on the path. Read the resource again.")
            if not isinstance(container, dict | list):
                raise _NotApplicable(f"the value at {segment!r} has no members. Correct the path.")
        return container, last


def _index(segment: str, size: int) -> int:
    if not _INDEX.fullmatch(segment):
        raise _NotApplicable(f"{segment[:40]!r} is not an index of an array. Correct the path.")
    if int(segment) >= size:
        raise _NotApplicable(f"the array has no index {segment}. Read the resource again.")
    return int(segment)


def _is_equal(left: Any, right: Any) -> bool:
    """Equality of RFC 6902, 4.6: numbers by value, objects without order."""
    if isinstance(left, msgspec.Raw) and isinstance(right, msgspec.Raw):
        return bytes(left) == bytes(right) or _number(left) == _number(right)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_is_equal(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    return bool(left == right)


def _number(spelling: msgspec.Raw) -> Decimal | None:
    try:
        return Decimal(bytes(spelling).decode())
    except InvalidOperation:  # an exponent beyond all bounds
        return None


def _spelled(path: Pointer) -> str:
    text = "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in path)
    return repr(text[:80]) if text else "the document"
