"""`mappings`: what it prints, its exit codes, and that the mapping document in docs/ is current."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli.mappings import app
from broker.errors import ConfigurationError
from broker.mapping.mapping_set import load_mappings
from broker.mapping.reading_types import READING_TYPES
from tests.spawning import ROOT

FILE = """
name: mine
match: kind == 'mine'
device: {identifier: {system: 'http://example.org/devices', value: id}}
time: received
observations:
  - {name: heart-rate, type: heart-rate, value: hr, unit: bpm}
"""


def run(*arguments: str, content: str = "") -> Result:
    result = CliRunner().invoke(app, list(arguments), input=content)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_json(*arguments: str, content: str = "") -> Any:
    return json.loads(run(*arguments, "--json", content=content).stdout)


def test_the_mapping_document_in_docs_is_what_the_command_writes(tmp_path: Path) -> None:
    run("document", "--output", str(tmp_path / "document.md"))
    written = (tmp_path / "document.md").read_text()
    kept = (ROOT / "docs" / "mapping-document.md").read_text()
    assert written == kept, "run: fhir-broker mappings document --output docs/mapping-document.md"


def test_the_mapping_document_names_every_value_that_a_shipped_mapping_reads() -> None:
    rows = list(csv.DictReader(io.StringIO(run("document", "--format", "csv").stdout)))
    named = {(row["Mapping"], row["Name"]) for row in rows}
    for mapping in load_mappings(None).mappings:
        for observation in mapping.source["observations"]:
            assert (mapping.name, observation["name"]) in named
            for component in observation.get("components", ()):
                assert (mapping.name, f"{observation['name']}.{component['name']}") in named
    weight = next(row for row in rows if (row["Mapping"], row["Name"]) == ("scale", "body-weight"))
    assert (weight["LOINC"], weight["MDC"], weight["UCUM"]) == ("29463-7", "188736", "kg")
    assert (weight["Source field"], weight["Unit in the payload"]) == ("weight", "from weightUnit")
    assert weight["Profile"] == "http://hl7.org/fhir/StructureDefinition/bodyweight"


def test_the_html_document_is_a_page_whose_texts_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        FILE.replace("name: mine", "name: mine\ntitle: <b>Mine</b> & more", 1)
    )
    shown = run("document", "--format", "html", "--folder", str(tmp_path)).stdout
    assert shown.startswith("<!doctype html>")
    assert "&lt;b&gt;Mine&lt;/b&gt; &amp; more" in shown
    assert "<b>" not in shown


def test_a_cell_of_the_csv_is_no_formula(tmp_path: Path) -> None:
    text = FILE.replace("type: heart-rate,", "title: '=1+1', code: [{system: loinc, code: 1-8}], to: /min,")
    (tmp_path / "mine.yaml").write_text(text)
    rows = csv.DictReader(io.StringIO(run("document", "--format", "csv", "--folder", str(tmp_path)).stdout))
    assert next(row for row in rows if row["Mapping"] == "mine")["Data type"] == "'=1+1"


def test_the_document_says_by_what_readings_are_merged(tmp_path: Path) -> None:
    text = FILE.replace("time: received", "time: {value: at}").replace("bpm}", "bpm, merge: {by: session}}")
    (tmp_path / "mine.yaml").write_text(text)
    rows = csv.DictReader(io.StringIO(run("document", "--format", "csv", "--folder", str(tmp_path)).stdout))
    merged = {row["Mapping"]: row["Readings merged by"] for row in rows if row["Readings merged by"]}
    assert merged == {"mine": "session"}


def test_the_list_has_the_shipped_mappings_and_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    rows = {row["name"]: row for row in run_json("list", "--folder", str(tmp_path))}
    assert rows["mine"]["shipped"] is False
    assert rows["thermometer"]["shipped"] is True
    assert rows["thermometer"]["observations"] == ["body-temperature"]


def test_the_list_of_types_is_what_a_mapping_can_name() -> None:
    assert [row["type"] for row in run_json("list", "--types")] == list(READING_TYPES)


def test_the_test_of_a_payload_shows_observations_and_exits_with_0() -> None:
    shown = run_json("test", "--example", "thermometer")
    assert [reading["observation"] for reading in shown["readings"]] == ["body-temperature"] * 2
    assert shown["problems"] == []


def test_the_test_of_a_payload_that_cannot_be_mapped_shows_why_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    result = run(
        "test", "-", "--folder", str(tmp_path), "--json", content='{"kind": "mine", "id": "1", "hr": 9999}'
    )
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert (problem["reason"], problem["place"]) == ("impossible-value", "hr")
    assert "9999" not in result.stdout


def test_lines_of_csv_and_values_of_bluetooth_characteristics_can_be_tested(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    shown = run_json(
        "test",
        "-",
        "--format",
        "csv",
        "--folder",
        str(tmp_path),
        content="kind,id,hr\nmine,1,61\nmine,1,62\n",
    )
    assert [each["resource"]["valueQuantity"]["value"] for each in shown["readings"]] == [61, 62]
    (tmp_path / "value.bin").write_bytes(bytes([0, 72]))
    shown = run_json(
        "test", str(tmp_path / "value.bin"), "--format", "gatt:2A37", "--device", "http://example.org/d|1"
    )
    assert [each["resource"]["valueQuantity"]["value"] for each in shown["readings"]] == [72]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test",), "Give a payload or --example"),
        (("test", "missing.json"), "missing.json cannot be read"),
        (("test", "-", "--mapping", "none"), "There is no mapping none"),
        (("test", "--example", "none"), "There is no example none"),
        (("test", "-", "--format", "xml"), "--format is json, csv, or gatt"),
        (("test", "-"), "-: the payload is not JSON: line 1, column 1"),
        (("list", "--folder", "nowhere"), "nowhere is not a folder"),
        (("check", "nowhere.yaml"), "nowhere.yaml cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        run(*arguments, content="no JSON")
    assert "\n" not in str(caught.value)


def test_the_check_names_file_line_and_field_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text(FILE.replace("unit: bpm", "unti: bpm"))
    (tmp_path / "c.yaml").write_text(FILE)
    result = run("check", str(tmp_path), "--json")
    assert result.exit_code == 1
    good, bad, same = json.loads(result.stdout)
    assert (good["mapping"], good["problem"]) == ("mine", "")
    assert "b.yaml, line 7: observations[0].unti: unknown key. Did you mean unit?" in bad["problem"]
    assert "a.yaml has the same name" in same["problem"]


def test_the_check_without_a_file_is_of_the_shipped_mappings() -> None:
    assert [row["problem"] for row in run_json("check")] == [""] * len(load_mappings(None).mappings)


def test_the_check_of_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no \*\.yaml file"):
        run("check", str(tmp_path))


def write_strap(folder: Path) -> Path:
    """A mapping that merges, and two payloads of its device, a minute apart."""
    (folder / "strap.yaml").write_text(
        FILE.replace("name: mine", "name: strap")
        .replace("time: received", "time: {value: at}")
        .replace("value: hr, unit: bpm", "sampled-data: {samples: hr, period: 1000}, unit: bpm, merge: hour")
    )
    for minute in (0, 1):
        reading = {"kind": "mine", "id": "1", "at": f"2026-03-02T08:0{minute}:00Z", "hr": 61}
        (folder / f"{minute}.json").write_text(json.dumps(reading))
    return folder / "strap.yaml"


def test_the_check_warns_of_a_merge_that_is_too_small_and_exits_with_0(tmp_path: Path) -> None:
    strap = write_strap(tmp_path)
    result = run("check", str(strap), "--json")
    assert (result.exit_code, json.loads(result.stdout)[0]["warnings"]) == (0, [])
    payloads = [part for minute in (0, 1) for part in ("--payload", str(tmp_path / f"{minute}.json"))]
    result = run("check", str(strap), *payloads, "--json")
    ((warning,),) = [row["warnings"] for row in json.loads(result.stdout)]
    assert (result.exit_code, "59 of 60 places stay empty" in warning) == (0, True)
    strap.write_text(strap.read_text().replace("{value: at}", "{value: at, format: '%H:%M', zone: UTC}"))
    (row,) = run_json("check", str(strap))
    assert "strap.yaml, line 7: observations[0].sampled-data.period: times of the" in row["warnings"][0]
    assert row["problem"] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "the payload is not JSON"), ('{"kind": "other"}', "no mapping is for this payload")],
)
def test_a_payload_that_the_check_cannot_use_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.json").write_text(content)
    strap = write_strap(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        run("check", str(strap), "--payload", str(tmp_path / "p.json"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run("check", str(strap), "--payload", str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError, match="needs the mapping file"):
        run("check", "--payload", str(tmp_path / "p.json"))
