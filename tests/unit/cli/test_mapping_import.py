"""`mappings import`: the files that it writes, what it lists, and its errors."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.mappings import app
from broker.errors import ConfigurationError
from tests.unit.mapping.medtech_templates import SYSTEMS, content, fhir


def test_the_command_writes_files_that_the_check_accepts_and_lists_the_rest(tmp_path: Path) -> None:
    (tmp_path / "content.json").write_text(json.dumps(content("hr")))
    (tmp_path / "fhir.json").write_text(json.dumps(fhir("hr", periodInterval=-1)))
    arguments = [
        "import",
        str(tmp_path / "content.json"),
        str(tmp_path / "fhir.json"),
        "--to",
        str(tmp_path / "own"),
    ]
    arguments += ["--device-system", SYSTEMS.device]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["files"] == [str(tmp_path / "own" / "medtech-hr.yaml")]
    assert [row["part"] for row in shown["leftOut"]] == ["periodInterval"]
    assert (tmp_path / "own" / "mapping.schema.json").is_file()
    assert CliRunner().invoke(app, ["check", str(tmp_path / "own")]).exit_code == 0
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, ConfigurationError)
    assert "exists. Give another --name or folder, or --replace" in str(again.exception)
    assert CliRunner().invoke(app, [*arguments, "--replace"]).exit_code == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"templateType": 1}', "{"])
def test_a_file_that_is_no_template_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    arguments = ["import", str(tmp_path / "a.json"), "--to", str(tmp_path), "--device-system", SYSTEMS.device]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "\n" not in str(result.exception)
