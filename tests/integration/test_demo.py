"""The commands a newcomer tries first."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.shell import BROKER, clean_environment, process, run, wait_until

ROOT = Path(__file__).parents[2]
US_CORE = ROOT.parent / "shared" / "spec" / "data" / "profiles-r4" / "examples"
EXAMPLES = ROOT / "tests" / "fhir" / "examples" / "r4"


def vital_signs(folder: Path) -> int:
    """Observations with the vital-signs category in the files of a folder, Bundles looked into."""
    count = 0
    for path in folder.rglob("*.json"):
        resource = json.loads(path.read_text())
        inner = [entry["resource"] for entry in resource.get("entry", [])] or [resource]
        count += sum(
            one["resourceType"] == "Observation" and '"vital-signs"' in json.dumps(one.get("category"))
            for one in inner
        )
    return count


def test_the_demo_delivers_everything_and_exits_0() -> None:
    done = run("demo", "--seconds", "2", "--rate", "40", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["accepted"] == 80
    assert summary["notified"] == summary["matched"] > 0
    assert summary["lost"] == summary["duplicates"] == summary["unexpected"] == summary["out_of_order"] == 0


def test_the_demo_shows_subscriptions_a_bundle_and_a_summary() -> None:
    done = run("demo", "--seconds", "1", "--rate", "30")
    assert done.code == 0, done.err
    for text in (
        "ehr-r5",
        "ehr-r4b",
        '"resourceType": "Bundle"',
        "latency p50 / p99",
        "Everything that should",
    ):
        assert text in done.out


def test_ctrl_c_ends_the_demo_with_its_summary_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = clean_environment(TMPDIR=str(tmp_path))
    with process([*BROKER, "demo", "--forever", "--rate", "30"], environment) as demo:
        wait_until(lambda: any(tmp_path.iterdir()), "the demo's data folder")
        wait_until(lambda: bool(list(tmp_path.rglob("valkey.sock"))), "the store")
        # readings are being sent by now or soon; either way it has to end in order
        demo.signal(signal.SIGINT)
        assert demo.wait() in {0, 1}
        output = "".join(demo.drain())
        assert "Traceback" not in output
        assert "Summary" in output
    assert list(tmp_path.iterdir()) == []
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert left.stdout == b""


def test_each_vital_sign_of_a_folder_is_delivered_to_each_subscription() -> None:
    done = run("demo", "--input", str(EXAMPLES), "--json")
    assert done.code == 0, done.err + done.out
    assert json.loads(done.out)["notified"] == 3 * vital_signs(EXAMPLES) > 0


@pytest.mark.skipif(not US_CORE.is_dir(), reason="the US Core examples are not beside the project")
def test_each_vital_sign_of_the_us_core_examples_is_delivered() -> None:
    done = run("demo", "--input", str(US_CORE), "--json")
    assert done.code == 0, done.err + done.out
    assert json.loads(done.out)["notified"] == 3 * vital_signs(US_CORE) > 0


@pytest.mark.parametrize("name", ["missing", "empty", "broken"])
def test_an_unusable_input_folder_is_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    if name != "missing":
        (tmp_path / name).mkdir()
    if name == "broken":
        (tmp_path / name / "x.json").write_text("{")
    done = run("demo", "--input", str(tmp_path / name))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--input" in done.err


def test_topics_check_accepts_what_ships_and_names_what_is_wrong(tmp_path: Path) -> None:
    good = run("topics", "check", str(ROOT / "topics"), "--json")
    assert good.code == 0, good.out
    assert len(json.loads(good.out)) == len(list((ROOT / "topics").glob("*.json")))
    (tmp_path / "bad.json").write_text('{"resourceType": "SubscriptionTopic", "id": "bad"}')
    bad = run("topics", "check", str(tmp_path), "--json")
    assert bad.code == 1
    [row] = json.loads(bad.out)
    assert row["topic"] is None
    assert "url" in " ".join(row["remarks"])
    assert run("topics", "check", str(tmp_path / "nowhere")).code == 2


@pytest.mark.parametrize(
    "command", ["serve", "api", "match", "dispatch", "demo", "listen", "simulate", "topics check"]
)
def test_help_has_an_example(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.code == 0
    assert f"fhir-broker {command}" in done.out


def test_the_version_is_told() -> None:
    assert run("--version").out.startswith("fhir-broker 0.")
