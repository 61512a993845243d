"""The reference pages are those that `make reference` writes from the code of today."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from broker.api.routes import OAUTH, ROUTES
from scripts.openapi import OPERATIONS, document
from scripts.openapi_schemas import SCHEMAS
from scripts.reference import pages, with_metrics, with_settings

ROOT = Path(__file__).parents[2]


def test_the_reference_pages_are_current() -> None:
    old = [
        str(path.relative_to(ROOT))
        for path, text in pages(ROOT).items()
        if not path.exists() or path.read_text() != text
    ]
    assert old == [], "run make reference"


def test_the_openapi_document_has_every_route_and_no_other() -> None:
    routes = {(row.method, row.path) for row in (*ROUTES, *OAUTH) if row.route is Route}
    assert OPERATIONS.keys() == routes


def test_the_openapi_document_refers_to_schemas_that_exist_and_are_valid() -> None:
    openapi = document()
    assert openapi["openapi"] == "3.1.0"
    named = {name.rpartition("/")[2] for name in _references(openapi)}
    assert named == SCHEMAS.keys()
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_a_route_with_access_says_which() -> None:
    paths = document()["paths"]
    assert paths["/livez"]["get"]["security"] == []
    assert paths["/metrics"]["get"]["security"] == [{"token": ["operator"]}]
    assert paths["/readings"]["post"]["security"] == [{"token": ["system/Observation.c"]}]
    assert paths["/oauth/introspect"]["post"]["security"] == [{"token": []}]


def test_a_page_without_the_table_of_settings_is_refused() -> None:
    with pytest.raises(ValueError, match="no table of settings"):
        with_settings("# Configuration\n")


def test_a_page_without_the_table_of_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="no table of metrics"):
        with_metrics("# Metrics\n")


def test_only_the_table_of_metrics_is_replaced() -> None:
    head = "| metric | type | labels | of | meaning |"
    page = (
        f"# Metrics\n\n{head}\n|---|---|---|---|---|\n| `broker_gone` | gauge | | store | Old. |\n\nText.\n"
    )
    written = with_metrics(page)
    assert written.startswith(f"# Metrics\n\n{head}\n")
    assert written.endswith("|\n\nText.\n")
    assert "broker_gone" not in written
    assert (
        "| `broker_store_errors` | counter |  | process | Requests to the store that failed. |\n" in written
    )


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []
