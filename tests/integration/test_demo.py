"""`demo`, `topics check` and the command line itself, run as processes."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.broker_fixture import until
from tests.integration.commands import BROKER, REPOSITORY, Command, environment, run

_OWN = REPOSITORY / "tests" / "fhir" / "examples" / "r4"
_STYLING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_US_CORE = REPOSITORY.parent / "shared" / "spec" / "data" / "profiles-r4" / "examples"


def summary_of(*arguments: str) -> dict[str, Any]:
    ended = run("demo", *arguments, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    summary: dict[str, Any] = json.loads(ended.stdout)
    return summary


def vital_signs_in(folder: Path) -> int:
    """The number of Observations in the folder with the category vital-signs."""
    resources = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sum(
        "vital-signs" in json.dumps(resource.get("category", ""))
        for resource in resources
        if resource["resourceType"] == "Observation"
    )


def test_the_demo_notifies_every_expected_event_and_reports_it() -> None:
    summary = summary_of("--seconds", "2", "--rate", "30")
    assert summary["accepted"] == 60
    assert summary["matched"] == summary["notified"] > 0
    wrong = ("lost", "refused", "unexpected", "duplicates", "out_of_order", "invalid")
    assert [summary[name] for name in wrong] == [0] * 6
    assert summary["signed"] > 0, "and each was verified"
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]


@pytest.mark.parametrize(
    "folder",
    [
        _OWN,
        pytest.param(
            _US_CORE,
            marks=pytest.mark.skipif(
                not _US_CORE.is_dir(), reason="the published profile examples are not next to this checkout"
            ),
        ),
    ],
    ids=["own", "profiles"],
)
def test_an_input_folder_gives_each_subscriber_one_event_for_each_vital_sign(folder: Path) -> None:
    expected = vital_signs_in(folder)
    summary = summary_of("--input", str(folder))
    assert expected > 3
    assert summary["notified"] == 3 * expected, "three subscribers"
    assert summary["accepted"] == len(list(folder.glob("*.json")))
    assert (summary["lost"], summary["findings"]) == (0, [])


def processes() -> str:
    return subprocess.run(["ps", "-axwwo", "command"], capture_output=True, text=True, check=True).stdout


async def test_ctrl_c_ends_the_demo_with_its_summary_and_deletes_its_data(tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    terminal = {"TMPDIR": str(temporary), "FORCE_COLOR": "1", "COLUMNS": "160", "TERM": "xterm"}
    command = [BROKER, "demo", "--forever", "--rate", "40"]
    with Command(command, tmp_path / "demo.log", environment() | terminal) as demo:

        async def has_sent_readings() -> bool:
            sent = re.findall(r"^sent .*?(\d+)/", _STYLING.sub("", demo.output), re.MULTILINE)
            return bool(sent) and int(sent[-1]) > 40

        await until(has_sent_readings)
        found = re.search(r"(http://127\.0\.0\.1:\d+)/console/login/link\?token=([\w-]+)", demo.output)
        assert found is not None, demo.output
        async with httpx.AsyncClient(base_url=found[1], timeout=60, trust_env=False) as browser:
            assert (await browser.post("/console/login/link", data={"token": found[2]})).status_code == 303
            tour = await browser.get("/console/tour/topic")
            assert tour.status_code == 200
            assert "1 of 8" in tour.text
        assert str(temporary) in processes(), "the store's process shows where it listens"
        assert await demo.stop(signal.SIGINT) == 130, demo.output[-3000:]
        output = _STYLING.sub("", demo.output)
    assert "Made 5 keys and registered 5 clients: gateway, ehr-r5, ehr-r4, ehr-r4b, tour." in output
    assert "3 subscribers got access tokens with their keys and registered their subscriptions." in output
    assert "The broker made 3 signing secrets. Subscribers refuse what is not signed with theirs." in output
    verified = re.search(r"signatures verified\W+(\d+)", output)
    assert verified is not None
    assert int(verified[1]) > 0
    assert "Summary" in output
    assert "Every expected event was notified, and the subscribers verified the signature" in output
    assert "Traceback" not in output
    assert str(temporary) not in processes()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_an_input_folder_without_resources_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    ended = run("demo", "--input", str(tmp_path / name))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"fhir-broker: --input {tmp_path / name}: ")
    assert ended.stderr.count("\n") == 1


def test_topics_check_accepts_the_topics_of_the_package() -> None:
    ended = run("topics", "check", "topics", "--json")
    assert ended.returncode == 0, ended.stdout
    rows = json.loads(ended.stdout)
    assert len(rows) == len(list((REPOSITORY / "topics").glob("*.json")))
    assert all(row["topic"] for row in rows)
    assert "vital-signs.json" in run("topics", "check").stdout, "the table is for people"


def test_topics_check_reports_each_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    good = (REPOSITORY / "topics" / "vital-signs.json").read_text()
    (tmp_path / "good.json").write_text(good)
    (tmp_path / "torn.json").write_text(good[: len(good) // 2])
    nameless = json.loads(good)
    del nameless["url"]
    (tmp_path / "nameless.json").write_text(json.dumps(nameless))
    ended = run("topics", "check", str(tmp_path), "--json")
    assert ended.returncode == 1, ended.stderr
    rows = {row["file"]: row for row in json.loads(ended.stdout)}
    assert rows["good.json"]["topic"]
    for broken in ("torn.json", "nameless.json"):
        assert rows[broken]["topic"] is None
        assert rows[broken]["remarks"]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_topics_check_without_a_topic_file_prints_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    ended = run("topics", "check", str(tmp_path / name))
    assert ended.returncode == 2
    assert str(tmp_path / name) in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("simulate", "--rate", "fast"), "--rate"),
        (("simulate", "--patients", "0"), "--patients"),
        (("serve", "--wrokers", "2"), "--wrokers"),
        (("explain", "ward-3"), "Missing argument"),
        (("subscriptions", "show"), "Missing argument"),
        (("dead-letters", "retry"), "No such command 'retry'"),
    ],
)
def test_arguments_that_are_not_valid_are_reported_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("fhir-broker: ")
    assert says in ended.stderr
    assert " --help`." in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_installed_command_prints_its_version() -> None:
    command = Path(sys.executable).with_name("fhir-broker")
    ended = subprocess.run(
        [command, "--version"], capture_output=True, text=True, env=os.environ, timeout=120, check=True
    )
    assert ended.stdout == f"fhir-broker {version('fhir-broker')}\n"
