"""`make audit` and `make sbom`."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def audit_command() -> list[str]:
    """The words of the command that `make audit` runs."""
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"^audit: .*\n\t@\$\(BIN\)/(pip-audit .*)$", makefile, re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_an_audit_that_can_look_nothing_up_fails() -> None:
    name, *options = audit_command()
    unreachable = "http://127.0.0.1:1"
    variables = os.environ | {"HTTPS_PROXY": unreachable, "https_proxy": unreachable, "NO_PROXY": ""}
    command = [str(Path(sys.executable).with_name(name)), *options]
    ended = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "No known vulnerabilities" not in ended.stdout + ended.stderr
    assert "Unable to connect to proxy" in ended.stderr, "it got as far as the look-up"


def test_an_audit_does_not_pass_over_what_it_could_not_look_up() -> None:
    assert "--strict" in audit_command()
    assert "requirements.lock" in audit_command()


def test_the_sbom_names_a_licence_for_each_component_or_says_which_has_none() -> None:
    complete = runpy.run_path(str(ROOT / "scripts" / "sbom"))["complete"]
    components: list[dict[str, Any]] = [
        {"name": "fhirpathpy"},
        {"name": "orjson", "licenses": [{"expression": "MPL-2.0"}]},
        {"name": "unheard-of"},
    ]
    assert complete({"components": components}) == ["unheard-of"]
    assert components[0]["licenses"][0]["license"]["id"] == "MIT"
    assert components[1]["licenses"] == [{"expression": "MPL-2.0"}]


@pytest.mark.timeout(600)  # it reads the metadata of every package: minutes on a loaded machine
def test_the_sbom_of_this_environment_has_the_installed_packages() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "sbom"))
    bom = script["read"](sys.executable, "--no-validate")
    names = {component["name"].lower().replace("_", "-") for component in bom["components"]}
    assert bom["metadata"]["component"]["name"] == "fhir-broker"
    assert {"fhirpathpy", "orjson", "redis", "starlette"} <= names
    assert bom["specVersion"] == "1.6"
    assert "file://" not in json.dumps(bom), "it shows nothing of the machine that made it"
