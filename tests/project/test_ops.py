"""Metrics are those of docs/metrics.md, and the dashboard and the alerts in ops/ name no others."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.metrics import (
    DocumentedMetric,
    documented_metrics,
    families,
    labels_of_process,
    process_page,
    store_page,
)
from tests.unit.telemetry.test_metrics import COUNTS

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "ops" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "ops" / "grafana" / "fhir-broker.json"
DOCUMENTED = documented_metrics()
OF_PROMETHEUS = {"up": DocumentedMetric("up", "gauge", (), "prometheus")}
_MATCHERS = re.compile(r"\{([^}]*)\}")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str, str]]:
    """The name of an alert or panel, its expression, and the text that names labels of the result."""
    for rule in rules():
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def samples() -> Mapping[str, DocumentedMetric]:
    """The documented metrics by the names that a scrape has."""
    named = {
        f"{name}{suffix}": metric for name, metric in DOCUMENTED.items() for suffix in _SUFFIXES[metric.type]
    }
    return named | OF_PROMETHEUS


def test_the_list_has_each_metric_with_its_type_and_labels() -> None:
    reported = {}
    for of, page in (("process", process_page()), ("store", store_page(COUNTS))):
        for name, family in families(page).items():
            reported[name] = (family.type, of)
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert not labels or labels == set(DOCUMENTED[name].labels), name
    assert reported == {name: (metric.type, metric.of) for name, metric in DOCUMENTED.items()}


def test_metrics_of_the_process_have_the_listed_labels() -> None:
    listed = {name: metric.labels for name, metric in DOCUMENTED.items() if metric.of == "process"}
    assert labels_of_process() == listed


@pytest.mark.parametrize(("name", "expression", "shown"), list(expressions()))
def test_dashboard_and_alerts_name_metrics_and_labels_that_exist(
    name: str, expression: str, shown: str
) -> None:
    without_labels = _MATCHERS.sub("", expression)
    used = set(re.findall(r"\bbroker_\w+|\bup\b", without_labels))
    assert used, name
    assert used <= samples().keys(), name
    found = [samples()[each] for each in used]
    allowed = {"job", "instance", *(label for metric in found for label in metric.labels)}
    if any(metric.type == "histogram" for metric in found):
        allowed.add("le")
    in_matchers = re.findall(r"(\w+)\s*[=!]", " ".join(_MATCHERS.findall(expression)))
    grouped = {
        label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", group)
    }
    assert {*in_matchers, *grouped} <= allowed, name
    legend = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", shown))
    assert legend <= (grouped or {"instance"}), name


def test_metrics_of_the_store_are_not_summed_over_processes() -> None:
    """Each process reports the same: a sum counts them once for each process."""
    of_store = [name for name, metric in samples().items() if metric.of == "store"]
    for name, expression, _ in expressions():
        if any(re.search(rf"\b{each}\b", expression) for each in of_store):
            assert re.match(r"(histogram_quantile\(|sum\()?max( by \([^)]*\))? ?\(", expression), name


def test_each_alert_has_an_entry_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    names = [rule["alert"] for rule in rules()]
    assert sorted(headings) == sorted(names)
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule.get("for", "0m")[:-1].isdigit()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    assert len({panel["id"] for panel in panels()}) == len(places)
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_accepts_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True)
