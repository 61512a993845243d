"""JSON Patch on text: what each operation does, what is refused, and that numbers keep their spelling."""

import json
from typing import Any

import pytest

from broker.errors import Malformed, Unprocessable
from broker.model.json_patch import MAX_OPERATIONS, parse_json_patch

DOCUMENT: dict[str, Any] = {
    "list": ["a", "b", {"deep": [1]}],
    "object": {"x": 1, "a/b": 2, "m~n": 3},
    "true": True,
    "one": 1,
}


def patched(*operations: dict[str, Any], document: dict[str, Any] | None = None) -> Any:
    text = json.dumps(DOCUMENT if document is None else document).encode()
    return json.loads(parse_json_patch(json.dumps(operations).encode()).apply(text))


def op(op: str, path: str, value: Any = None, source: str | None = None) -> dict[str, Any]:
    operation = {"op": op, "path": path}
    if op in {"add", "replace", "test"}:
        operation["value"] = value
    return operation | ({} if source is None else {"from": source})


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (op("add", "/new", {"y": None}), DOCUMENT | {"new": {"y": None}}),
        (op("add", "/one", "replaced"), DOCUMENT | {"one": "replaced"}),
        (op("add", "/list/0", "first"), DOCUMENT | {"list": ["first", *DOCUMENT["list"]]}),
        (op("add", "/list/3", "last"), DOCUMENT | {"list": [*DOCUMENT["list"], "last"]}),
        (op("add", "/list/-", "last"), DOCUMENT | {"list": [*DOCUMENT["list"], "last"]}),
        (op("add", "/object/-", "a name"), DOCUMENT | {"object": DOCUMENT["object"] | {"-": "a name"}}),
        (op("add", "/", "empty name"), DOCUMENT | {"": "empty name"}),
        (op("add", "", {"other": 1}), {"other": 1}),
        (op("remove", "/list/1"), DOCUMENT | {"list": ["a", {"deep": [1]}]}),
        (op("remove", "/object/a~1b"), DOCUMENT | {"object": {"x": 1, "m~n": 3}}),
        (op("remove", "/object/m~0n"), DOCUMENT | {"object": {"x": 1, "a/b": 2}}),
        (op("replace", "/list/2/deep/0", 2), DOCUMENT | {"list": ["a", "b", {"deep": [2]}]}),
        (op("replace", "", {"other": 1}), {"other": 1}),
        (op("move", "/list/0", source="/list/1"), DOCUMENT | {"list": ["b", "a", {"deep": [1]}]}),
        (op("move", "/one", source="/one"), DOCUMENT),
        (
            op("move", "/true", source="/one"),
            {"list": DOCUMENT["list"], "object": DOCUMENT["object"], "true": 1},
        ),
        (op("copy", "/list/-", source="/one"), DOCUMENT | {"list": [*DOCUMENT["list"], 1]}),
        (op("test", "/object", {"m~n": 3.0, "x": 1, "a/b": 2}), DOCUMENT),
        (op("test", "/list", ["a", "b", {"deep": [1e0]}]), DOCUMENT),
        (op("test", "/true", value=True), DOCUMENT),
    ],
)
def test_an_operation_changes_the_document_as_rfc_6902_says(operation: dict[str, Any], expected: Any) -> None:
    assert patched(operation) == expected


@pytest.mark.parametrize(
    "operation",
    [
        op("add", "/list/4", 1),
        op("add", "/list/01", 1),
        op("add", "/list/x", 1),
        op("add", "/list/99999999999999999999", 1),
        op("add", "/none/x", 1),
        op("add", "/one/-", 1),
        op("add", "/true/0", 1),
        op("remove", ""),
        op("remove", "/none"),
        op("remove", "/list/-"),
        op("remove", "/list/3"),
        op("replace", "/none", 1),
        op("replace", "/list/-", 1),
        op("move", "/object/x/y", source="/object"),
        op("move", "/object/inner", source=""),
        op("move", "/x", source="/none"),
        op("copy", "/x", source="/list/9"),
        op("test", "/none", None),
        op("test", "/true", 1),
        op("test", "/one", "1"),
        op("test", "/one", value=True),
        op("test", "/list", ["b", "a", {"deep": [1]}]),
        op("test", "/object", {"x": 1}),
    ],
)
def test_an_operation_that_cannot_be_applied_is_named_and_nothing_is_changed(
    operation: dict[str, Any],
) -> None:
    with pytest.raises(Unprocessable, match=rf"^Operation 1 \({operation['op']} "):
        patched(op("add", "/before", 1), operation)


@pytest.mark.parametrize(
    "text",
    [
        b'[{"op":"remove","path":"/a","path":"/b"}]',
        b'[{"op":"add","path":"/a","value":{"b":1,"b":2}}]',
        b"",
        b"{}",
        b"3",
        b"[1]",
        b"[[]]",
        b"[] []",
        b'[],"patch":[]',
        b'[{"path":"/a","value":1}]',
        b'[{"op":"merge","path":"/a","value":1}]',
        b'[{"op":["add"],"path":"/a","value":1}]',
        b'[{"op":"add","path":"/a"}]',
        b'[{"op":"add","path":"a","value":1}]',
        b'[{"op":"add","path":"/a~2","value":1}]',
        b'[{"op":"add","path":"/a~","value":1}]',
        b'[{"op":"add","path":1,"value":1}]',
        b'[{"op":"move","path":"/a"}]',
        b'[{"op":"add","path":"/a","value":NaN}]',
        b'[{"op":"add","path":"/a","value":' + b"[" * 100 + b"]" * 100 + b"}]",
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_text_that_is_no_json_patch_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse_json_patch(text)


def test_numbers_keep_their_spelling() -> None:
    patch = parse_json_patch(
        b'[{"op":"add","path":"/c","value":2.500},{"op":"copy","from":"/a","path":"/d"},'
        b'{"op":"test","path":"/a","value":1}]'
    )
    text = b'{"a":1.00,"b":1e2,"big":123456789012345678901234567890.10}'
    assert patch.apply(text) == text[:-1] + b',"c":2.500,"d":1.00}'


def test_a_copy_is_independent_of_its_source() -> None:
    result = patched(op("copy", "/twin", source="/object"), op("replace", "/twin/x", 9))
    assert result == DOCUMENT | {"twin": {"x": 9, "a/b": 2, "m~n": 3}}


def test_copies_are_bounded_in_size_and_depth() -> None:
    doubling = [op("copy", "/list/-", source="/list")] * 40
    with pytest.raises(Unprocessable, match="copies more"):
        patched(*doubling)
    nesting = [op("copy", "/a/b", source="/a"), op("move", "/c", source="/a"), op("move", "/a", source="/c")]
    result = patched(*nesting * 3, document={"a": {"b": {}}})
    assert json.dumps(result).count("{") <= 2 + 2**4


def test_the_number_of_operations_is_bounded() -> None:
    with pytest.raises(Unprocessable, match="more than"):
        parse_json_patch(json.dumps([op("remove", "/a")] * (MAX_OPERATIONS + 1)).encode())
