"""References between the entries of a Bundle, and the resources that a resource holds within itself."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_RESTFUL = re.compile(r"(https?://.*/|)[A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64}")
"""A URL of a resource. What is before its type is the base by which its relative references are read."""


class BundleEntries:
    """The entries of one Bundle, by their fullUrl."""

    def __init__(self, bundle: Mapping[str, Any]) -> None:
        self.bundle = bundle
        self._by_url: dict[str, Mapping[str, Any]] = {}
        self._urls: dict[int, str] = {}
        for entry in _objects(bundle.get("entry")):
            resource, url = entry.get("resource"), entry.get("fullUrl")
            if isinstance(resource, dict) and isinstance(url, str):
                self._by_url.setdefault(url, resource)
                self._urls[id(resource)] = url

    def find(self, reference: str, source: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The resource that a reference in another entry names."""
        text = reference.partition("/_history/")[0].partition("#")[0]
        if ":" in text:
            return self._by_url.get(text)
        restful = _RESTFUL.fullmatch(self._urls.get(id(source), ""))
        if restful is not None:
            return self._by_url.get(f"{restful[1]}{text}")
        return next((each for url, each in self._by_url.items() if url.endswith(f"/{text}")), None)


def nested_resources(fields: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The resources within a resource, with their paths: contained ones, entries of a Bundle, parameters."""
    for n, each in enumerate(_objects(fields.get("contained"))):
        yield each, f"{path}.contained[{n}]"
    if fields.get("resourceType") == "Bundle":
        for n, entry in enumerate(_objects(fields.get("entry"))):
            if isinstance(entry.get("resource"), dict):
                yield entry["resource"], f"{path}.entry[{n}].resource"
    elif fields.get("resourceType") == "Parameters":
        yield from _in_parameters(fields, "parameter", path)


def _in_parameters(owner: Mapping[str, Any], name: str, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    for n, each in enumerate(_objects(owner.get(name))):
        inner = f"{path}.{name}[{n}]"
        if isinstance(each.get("resource"), dict):
            yield each["resource"], f"{inner}.resource"
        yield from _in_parameters(each, "part", inner)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
