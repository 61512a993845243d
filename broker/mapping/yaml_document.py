"""Reads a YAML file so that every value has its line.

Scalars are read as JSON reads them (null, true, false, numbers as `int` or `Decimal`; everything else is
text), so that `on`, `no` and `08:30` are not turned into something else. Used for mapping files only.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import yaml

from broker.mapping.errors import MappingError

Path = tuple[str | int, ...]
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WORDS: Mapping[str, object] = {"null": None, "~": None, "": None, "true": True, "false": False}
_IMPLICIT_TAGS = {"str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value"}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 20
_MAX_NODES = 20_000


class YamlDocument:
    """The value of a file, and the line of each of its parts."""

    def __init__(self, file: str, value: Any, lines: Mapping[Path, int]) -> None:
        self.file = file
        self.value = value
        self._lines = lines

    def error(self, path: Path, text: str) -> MappingError:
        """The error at a part of the document, or at the nearest part around it that exists."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        return MappingError(self.file, self._lines.get(known, 1), field_name(path), text)


def field_name(path: Path) -> str:
    """Such as `observations[0].unit`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return text


def parse_yaml(file: str, text: str) -> YamlDocument:
    """Raises `MappingError` with the line for text that is not YAML, for a key that is there twice and for
    what this format has no use for (tags, several documents, keys that are no text).
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise MappingError(file, line, "", f"the file is not YAML: {problem}.") from None
    except RecursionError:
        raise MappingError(file, 1, "", "the file is nested too deeply.") from None
    if root is None:
        raise MappingError(file, 1, "", "the file is empty.")
    reader = _Reader(file)
    value = reader.read(root, ())
    return YamlDocument(file, value, reader.lines)


class _Reader:
    """Converts the nodes of one file."""

    def __init__(self, file: str) -> None:
        self.lines: dict[Path, int] = {}
        self._file = file

    def read(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if len(path) > _MAX_DEPTH or len(self.lines) > _MAX_NODES:
            raise MappingError(self._file, line, field_name(path), "the file is too large.")
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _IMPLICIT_TAGS:
            raise MappingError(self._file, line, field_name(path), "tags are not used in mapping files.")
        match node:
            case yaml.MappingNode():
                return self._object(node, path)
            case yaml.SequenceNode():
                return [self.read(each, (*path, number)) for number, each in enumerate(node.value)]
            case _:
                return _scalar(node)

    def _object(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                raise MappingError(self._file, line, field_name(path), "a key must be text.")
            if key in members:
                raise MappingError(self._file, line, field_name((*path, key)), "the key is there twice.")
            self.lines[*path, key] = line
            members[key] = self.read(value_node, (*path, key))
        return members


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if getattr(node, "style", None):  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text
