"""The options of the pytest plugin. examples/ and docs/harness.md use its fixtures with a broker."""

from pathlib import Path

from tests.integration.nested_pytest import run_pytest

TEST_FILE = """
import httpx


def test_the_ehr_takes_writes(ehr):
    answer = httpx.post(ehr.base + "/Patient", json={"resourceType": "Patient"}, trust_env=False)
    assert answer.status_code == 201
    assert len(ehr.store.resources("Patient")) == 1


def test_the_broker_is_that_of_the_option(broker):
    assert broker.base("r5") == "http://127.0.0.1:9/r5"
"""


def test_the_fixtures_exist_with_an_option_only(tmp_path: Path) -> None:
    (tmp_path / "test_integration.py").write_text(TEST_FILE)
    result = run_pytest(tmp_path, "--fhir-broker-url", "http://127.0.0.1:9")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout
    result = run_pytest(tmp_path)
    assert result.returncode == 1
    assert "fixture 'ehr' not found" in result.stdout
