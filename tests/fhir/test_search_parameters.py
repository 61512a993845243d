"""The table of search parameters says what the published definitions say."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from broker.fhir import search_parameters
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.search_parameters import SearchParameters
from broker.model.release import Release
from broker.model.search import Component, ParameterTable, ParameterType, SearchParameter

DATA = Path(__file__).parents[2].parent / "shared" / "spec" / "data"
TABLE: ParameterTable = SearchParameters()


@pytest.mark.parametrize("release", list(Release))
def test_the_table_has_the_published_definitions(release: Release) -> None:
    path = DATA / f"search-parameters-{release}.json"
    if not path.exists():
        pytest.skip(f"no published definitions at {path}")
    published: dict[str, dict[str, Any]] = json.loads(path.read_text())
    for resource_type, definitions in published.items():
        for code, definition in definitions.items():
            parts = definition.get("component", [])
            has_components = all(part["code"] in definitions for part in parts)
            parameter = TABLE.find(release, resource_type, code)
            if not definition.get("expression") or not has_components or code == "_in":
                assert parameter is None, (resource_type, code)
                continue
            assert parameter is not None, (resource_type, code)
            assert replace(parameter, codes=frozenset()) == SearchParameter(
                code,
                ParameterType(definition["type"]),
                definition["expression"],
                tuple(definition.get("target", ())),
                tuple(
                    Component(
                        part["code"], ParameterType(definitions[part["code"]]["type"]), part["expression"]
                    )
                    for part in parts
                ),
            )
    for resource_type in RESOURCE_TYPES[release]:
        added = search_parameters.SearchParameters().codes(release, resource_type) - set(
            published["Resource"]
        )
        assert added - set(published.get(resource_type, {})) <= {"_language"}


def test_known_parameters_are_found() -> None:
    code = TABLE.find(Release.R4, "Observation", "code")
    assert code == SearchParameter("code", ParameterType.TOKEN, "Observation.code")
    composite = TABLE.find(Release.R4, "Observation", "code-value-quantity")
    assert composite is not None
    assert composite.components == (
        Component("code", ParameterType.TOKEN, "code"),
        Component("value-quantity", ParameterType.QUANTITY, "value.as(Quantity)"),
    )
    device = TABLE.find(Release.R5, "DeviceMetric", "device")
    assert device is not None
    assert device.targets == ("Device",)
    assert TABLE.find(Release.R4, "DeviceMetric", "device") is None


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    "code", ["_id", "_lastUpdated", "_tag", "_profile", "_security", "_source", "_language"]
)
def test_parameters_of_every_resource_are_found_on_each_type(release: Release, code: str) -> None:
    parameter = TABLE.find(release, "Observation", code)
    assert parameter is not None
    assert parameter.expression.startswith("Resource.")


@pytest.mark.parametrize("code", ["_text", "_content", "_has", "_list", "_in", "_query", "nonsense", ""])
def test_parameters_without_an_expression_are_not_found(code: str) -> None:
    for release in Release:
        assert TABLE.find(release, "Observation", code) is None


def test_codes_are_those_that_are_found() -> None:
    table = SearchParameters()
    for release in Release:
        for resource_type in ("Observation", "Encounter", "Device"):
            codes = table.codes(release, resource_type)
            assert {"_id", "identifier"} <= codes
            assert all(table.find(release, resource_type, code) for code in codes)


def test_a_start_parses_no_parameter_of_the_table() -> None:
    """Counted in calls of functions, which no load of a machine changes: one for each line."""
    lines, calls = len(set(search_parameters._table().values())), 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    search_parameters._table.cache_clear()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        search_parameters._table()
    finally:
        sys.setprofile(before)
    assert lines > 1_000
    assert calls < 2 * lines
