"""`fhir-broker explain` run as a process, and docs/explain.md: the page shows what the command prints."""

import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from broker.testing.readings import HEART_RATE, observation
from tests.integration.commands import Command, environment, run_on_terminal
from tests.ports import free_port
from tests.spawning import run_broker

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
SUBSCRIPTION, READING = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
[COMMAND] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
[SHOWN] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
COLUMNS = 110
AT = "2025-03-01T08:00:00Z"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`fhir-broker ARGUMENTS` in a folder, with its output in files."""
    return run_broker(*arguments, env=environment() | {"COLUMNS": "40"}, cwd=folder, timeout_s=50)


@dataclass
class Ward:
    """A running broker with the page's subscription, and a folder with the page's resource."""

    base: str
    folder: Path

    def explain(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run(self.folder, "explain", *arguments, "--base", self.base)

    def write(self, name: str, value: float, patient: str = "ana") -> str:
        reading = observation(HEART_RATE, patient, AT, value)
        (self.folder / name).write_text(json.dumps(reading))
        return name


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    (tmp_path / "reading.json").write_text(READING)
    with Command.of_broker(tmp_path, "serve", port=str(port), data_dir=str(tmp_path / "store")) as broker:
        await broker.until_ready(base)
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            response = await client.put(
                f"{base}/r5/Subscription/ward-3", content=SUBSCRIPTION, headers=headers
            )
        assert response.status_code == 201, response.text
        yield Ward(base, tmp_path)
        await broker.stop()


def timeless(text: str) -> str:
    """The text without times, and without the blanks at the ends of wrapped lines."""
    return re.sub(r" +$", "", re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", text), flags=re.MULTILINE)


async def test_the_page_shows_what_the_command_prints(ward: Ward) -> None:
    words = [word.replace("http://127.0.0.1:8080", ward.base) for word in shlex.split(COMMAND)]
    assert words[0] == "fhir-broker"
    code, shown = run_on_terminal(ward.folder, *words[1:], columns=COLUMNS)
    assert code == 1, shown
    assert timeless(shown) == timeless(SHOWN)


async def test_nothing_is_cut_or_wrapped_in_a_pipe_and_json_has_the_whole_list(ward: Ward) -> None:
    piped = ward.explain("ward-3", "reading.json")
    wanted = "gt120|http://unitsofmeasure.org|/min"
    assert any(wanted in line and "does not pass" in line for line in piped.stdout.splitlines())
    assert "…" not in piped.stdout
    assert re.search(r"http://loinc.org\|8867-4 and \d\d more codes", piped.stdout)
    criteria = json.loads(ward.explain("ward-3", "reading.json", "--json").stdout)
    assert json.dumps(criteria).count("urn:iso:std:iso:11073:10101|") >= 12


async def test_the_exit_code_says_whether_the_change_would_be_notified(ward: Ward) -> None:
    fast = ward.explain("ward-3", ward.write("fast.json", 130))
    assert (fast.returncode, fast.stderr) == (0, "")
    assert "is an event" in fast.stdout
    assert "✗" not in fast.stdout
    slow = ward.explain("ward-3", ward.write("slow.json", 60))
    assert slow.returncode == 1
    assert "✗" in slow.stdout
    updated = ward.explain("ward-3", "fast.json", "--previous", "slow.json", "--json")
    assert updated.returncode == 0
    answer = json.loads(updated.stdout)
    change = next(part["part"] for part in answer["parameter"] if part["name"] == "change")
    assert {"name": "interaction", "valueCode": "update"} in change
    deleted = ward.explain("ward-3", "fast.json", "--interaction", "delete")
    assert deleted.returncode == 1
    assert "is about create and update only" in deleted.stdout


async def test_a_stored_resource_is_named_by_its_reference(ward: Ward) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    body = observation(HEART_RATE, "ana", AT, 131) | {"id": "fast"}
    async with httpx.AsyncClient(base_url=ward.base, headers=headers, trust_env=False, timeout=60) as client:
        assert (await client.put("/r4/Observation/fast", json=body)).status_code == 201
    done = ward.explain("ward-3", "Observation/fast")
    assert done.returncode == 0, done.stderr
    assert "This create of Observation is an event" in done.stdout


async def test_an_explanation_that_fails_is_one_line_with_exit_code_2(ward: Ward) -> None:
    (ward.folder / "broken.json").write_text("{")
    (ward.folder / "invalid.json").write_text('{"resourceType": "Observation"}')
    for arguments, says in (
        (("nobody", "reading.json"), "Subscription/nobody does not exist"),
        (("ward-3", "missing.json"), "Cannot read missing.json"),
        (("ward-3", "broken.json"), "broken.json is not JSON"),
        (("ward-3", "invalid.json"), "Observation.code is required"),
        (("ward-3", "Observation/nobody"), "not stored here"),
        (("ward-3", "reading.json", "--interaction", "read"), "create, update, delete"),
    ):
        done = ward.explain(*arguments)
        assert done.returncode == 2, done.stdout
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_broker_that_does_not_answer_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "reading.json").write_text(READING)
    done = run(tmp_path, "explain", "x", "reading.json", "--base", f"http://127.0.0.1:{free_port()}/r4")
    assert done.returncode == 2
    assert "does not answer" in done.stderr
