"""Checks a mapping file against `mapping.schema.json`, which editors read too, and reports the line.

Knows the keywords that the schema uses, and refuses a schema with others.
"""

import difflib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

from broker.mapping.yaml_document import Path, YamlDocument

SCHEMA_FILE = "mapping.schema.json"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, Decimal),
}
_NOUNS = {"object": "an object", "array": "a list", "string": "text", "boolean": "true or false",
          "integer": "a whole number", "number": "a number"}  # fmt: skip
_ANNOTATIONS = {"$schema", "$id", "title", "description", "$defs"}


@lru_cache(maxsize=1)
def schema() -> Mapping[str, Any]:
    """The JSON Schema of mapping files."""
    loaded: Mapping[str, Any] = json.loads(schema_text())
    return loaded


def schema_text() -> str:
    """The JSON Schema as it ships."""
    return files("broker").joinpath("mappings", SCHEMA_FILE).read_text(encoding="utf-8")


def check(document: YamlDocument) -> None:
    """Raises `MappingError` for the first part that does not satisfy the schema."""
    problem = _Checker(schema()).problem(document.value, schema(), ())
    if problem is not None:
        path, text = problem
        raise document.error(path, text)


class _Checker:
    """One pass. A problem is the path of the part and what is wrong with it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions = root["$defs"]

    def problem(self, value: Any, rules: Mapping[str, Any], path: Path) -> tuple[Path, str] | None:
        # a misspelled key before the missing one that it stands for
        for keyword, rule in sorted(rules.items(), key=lambda item: item[0] == "required"):
            if keyword in _ANNOTATIONS or keyword == "additionalProperties":
                continue
            if found := self._keyword(keyword, value, rule, rules, path):
                return found
        return None

    def _keyword(  # noqa: C901, PLR0912 one case for each keyword
        self, keyword: str, value: Any, rule: Any, rules: Mapping[str, Any], path: Path
    ) -> tuple[Path, str] | None:
        match keyword:
            case "$ref":
                return self.problem(value, self._definitions[rule.removeprefix("#/$defs/")], path)
            case "type":
                names = [rule] if isinstance(rule, str) else rule
                if not any(_is(value, name) for name in names):
                    return path, f"must be {' or '.join(_NOUNS[name] for name in names)}."
            case "enum":
                if value not in rule:
                    return path, f"must be one of {', '.join(str(each) or repr('') for each in rule)}."
            case "required":
                for key in rule if isinstance(value, dict) else ():
                    if key not in value:
                        return path, f"{key} is missing."
            case "properties":
                return self._members(value, rule, rules, path)
            case "items":
                for number, each in enumerate(value) if isinstance(value, list) else ():
                    if found := self.problem(each, rule, (*path, number)):
                        return found
            case "anyOf":
                return self._any_of(value, rule, path)
            case "pattern":
                if isinstance(value, str) and not re.search(rule, value):
                    return path, f"must have the form {rule}."
            case "minLength" | "minItems":
                if isinstance(value, str | list) and len(value) < rule:
                    return path, "must not be empty."
            case "minimum":
                if _is(value, "number") and value < rule:
                    return path, f"must be at least {rule}."
            case "exclusiveMinimum":
                if _is(value, "number") and value <= rule:
                    return path, f"must be greater than {rule}."
            case _:
                raise NotImplementedError(keyword)
        return None if keyword != "type" or "properties" in rules else self._others(value, rules, path)

    def _members(
        self, value: Any, members: Mapping[str, Any], rules: Mapping[str, Any], path: Path
    ) -> tuple[Path, str] | None:
        if not isinstance(value, dict):
            return None
        for key, each in value.items():
            if key not in members:
                if rules.get("additionalProperties") is False:
                    near = difflib.get_close_matches(key, members, 1)
                    advice = f" Did you mean {near[0]}?" if near else f" Known are {', '.join(members)}."
                    return (*path, key), f"unknown key.{advice}"
                continue
            if found := self.problem(each, members[key], (*path, key)):
                return found
        return None

    def _others(self, value: Any, rules: Mapping[str, Any], path: Path) -> tuple[Path, str] | None:
        """The members of an object whose keys are free."""
        rule = rules.get("additionalProperties")
        if not isinstance(rule, dict) or not isinstance(value, dict):
            return None
        for key, each in value.items():
            if found := self.problem(each, rule, (*path, key)):
                return found
        return None

    def _any_of(self, value: Any, branches: list[Any], path: Path) -> tuple[Path, str] | None:
        problems = []
        for branch in branches:
            found = self.problem(value, branch, path)
            if found is None:
                return None
            problems.append(found)
        # that of the branch that is meant: the one whose problem is deepest
        deepest = max(problems, key=lambda problem: len(problem[0]))
        if deepest[0] != path or isinstance(value, dict | list):
            of_type = [each for each in problems if not each[1].startswith("must be")]
            return deepest if deepest[0] != path or not of_type else of_type[0]
        texts = dict.fromkeys(text.rstrip(".").removeprefix("must be ") for _, text in problems)
        return path, f"must be {' or '.join(texts)}."


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
