"""Checks a mapping file against `mapping.schema.json`, which editors read too, and reports the line.

`jsonschema` judges; this module says in words what is wrong, and which field it is.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from broker.mapping.yaml_document import Path, YamlDocument

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

SCHEMA_FILE = "mapping.schema.json"
_NOUNS = {"object": "an object", "array": "a list", "string": "text", "boolean": "true or false",
          "integer": "a whole number", "number": "a number"}  # fmt: skip
Problem = tuple[Path, str]
"""The path of a part, and what is wrong with it."""


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema of mapping files."""
    loaded: Mapping[str, Any] = json.loads(schema_text())
    return loaded


def schema_text() -> str:
    """The JSON Schema as it ships."""
    return files("broker").joinpath("mappings", SCHEMA_FILE).read_text(encoding="utf-8")


@cache
def _validator() -> "Draft202012Validator":
    from jsonschema import Draft202012Validator  # noqa: PLC0415 only mappings need it, and it loads slowly

    return Draft202012Validator(schema())


def check(document: YamlDocument) -> None:
    """Raises `MappingError` for the first part that does not satisfy the schema."""
    problem = _first(_validator().iter_errors(document.value))
    if problem is not None:
        path, text = problem
        raise document.error(path, text)


def _first(errors: Iterable["ValidationError"]) -> Problem | None:
    """A misspelled key comes before the missing one that it stands for."""
    found = sorted(errors, key=lambda error: error.validator == "required")
    return _problem(found[0]) if found else None


def _problem(error: "ValidationError") -> Problem:
    path, rule = tuple(error.absolute_path), error.validator_value
    match error.validator:
        case "type":
            names = [rule] if isinstance(rule, str) else rule
            return path, f"must be {' or '.join(_NOUNS[name] for name in names)}."
        case "enum":
            return path, f"must be one of {', '.join(str(each) or repr('') for each in rule)}."
        case "required":
            missing = next(key for key in rule if key not in error.instance)
            return path, f"{missing} is missing."
        case "additionalProperties":
            return _unknown_key(error, path)
        case "pattern":
            return path, f"must have the form {rule}."
        case "minLength" | "minItems":
            return path, "must not be empty."
        case "minimum":
            return path, f"must be at least {rule}."
        case "exclusiveMinimum":
            return path, f"must be greater than {rule}."
        case "anyOf":
            return _of_any(error, path)
    return path, f"{error.message}."  # in the words of the library


def _unknown_key(error: "ValidationError", path: Path) -> Problem:
    members = error.schema["properties"]
    key = next(key for key in error.instance if key not in members)
    near = difflib.get_close_matches(key, members, 1)
    advice = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(members)}."
    return (*path, key), f"unknown key. {advice}"


def _of_any(error: "ValidationError", path: Path) -> Problem:
    """The problem of the branch that is meant: the one whose problem is deepest."""
    branches: dict[Any, list[ValidationError]] = {}
    for each in error.context:
        branches.setdefault(each.schema_path[0], []).append(each)
    problems = [problem for each in branches.values() if (problem := _first(each)) is not None]
    deepest = max(problems, key=lambda problem: len(problem[0]))
    if deepest[0] != path or isinstance(error.instance, dict | list):
        of_type = [each for each in problems if not each[1].startswith("must be")]
        return deepest if deepest[0] != path or not of_type else of_type[0]
    texts = dict.fromkeys(text.rstrip(".").removeprefix("must be ") for _, text in problems)
    return path, f"must be {' or '.join(texts)}."
