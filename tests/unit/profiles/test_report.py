"""The conformance report counts passed, failed and present elements, and shows no value of a resource."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from broker.cli.conformance_report import conformance_report
from broker.model.release import Release
from broker.profiles import report_view
from broker.profiles.report import ConformanceReport, Reporter
from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import shipped
from tests.unit.profiles.examples import examples, resource_of

SECRET = "a<b>|secret"


def report_of(*names: str) -> ConformanceReport:
    reporter = Reporter(shipped(), Release.R4)
    for name in names:
        reporter.add(name, examples()[name], [])
    wrong = examples()["bp"]
    wrong["component"][1]["valueQuantity"]["code"] = SECRET
    del wrong["component"][1]["valueQuantity"]["unit"]
    reporter.add("wrong", wrong, [])
    return reporter.report()


def test_elements_are_counted_by_slice() -> None:
    report = report_of("bp", "heartrate")
    assert (report.resources, report.conformant) == (3, 2)
    profile = report.profiles[f"{HL7}bp"]
    assert (profile.resources, profile.conformant) == (2, 1)
    diastolic = "Observation.component:DiastolicBP.value[x]:valueQuantity"
    for element, counts in (
        (f"{diastolic}.code", (True, 1, 1, 2)),
        (f"{diastolic}.unit", (True, 1, 1, 1)),
        ("Observation.component:SystolicBP.value[x]:valueQuantity.code", (True, 2, 0, 2)),
        ("Observation.dataAbsentReason", (True, 2, 0, 0)),
        ("Observation.category:VSCat", (True, 2, 0, 2)),
    ):
        row = profile.elements[element]
        assert (row.must_support, row.passed, row.failed, row.present) == counts, element
    paths = {problem.path for problem in report.problems if problem.severity == "error"}
    assert paths == {f"Observation.component[1].valueQuantity.{part}" for part in ("unit", "code")}


def test_every_format_has_the_counts_and_no_value() -> None:
    report = report_of("bp")
    shown = json.loads(report_view.as_json(report))
    (profile,) = shown["profiles"]
    assert profile["conformant"] == 1
    assert {"element", "must_support", "passed", "failed", "present"} == profile["elements"][0].keys()
    markdown, html = report_view.as_markdown(report), report_view.as_html(report)
    assert "1 of 2 resources conform." in markdown
    assert "1 of 2 resources conform." in html
    assert "<script" not in html
    for text in (markdown, html, json.dumps(shown)):
        assert "secret" not in text


@pytest.fixture
def command() -> CliRunner:
    return CliRunner()


def test_the_command_reads_files_bundles_and_lines(command: CliRunner, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(conformance_report)
    good = json.loads(resource_of(examples()["heartrate"]).text)
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": good}, {}]}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (tmp_path / "lines.ndjson").write_text(f"{json.dumps(good)}\n\n{json.dumps(good)}\n")
    output = tmp_path / "report.out"
    result = command.invoke(app, [str(tmp_path), "--format", "json", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text())["resources"] == 3
    good["status"] = "done"
    (tmp_path / "wrong.json").write_text(json.dumps(good))
    result = command.invoke(app, [str(tmp_path / "wrong.json")])
    assert result.exit_code == 1
    assert "Observation.status" in result.output
    result = command.invoke(app, [str(tmp_path / "none.json")])
    assert "none.json" in str(result.exception)
    result = command.invoke(app, [str(tmp_path / "bundle.json"), "--profile", f"{HL7}none"])
    assert f"{HL7}none" in str(result.exception)
