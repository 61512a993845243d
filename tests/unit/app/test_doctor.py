"""Each check of `fhir-broker doctor` says what is wrong and what to do, and nothing where all is well."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from broker.app.doctor import Finding, State, examine, files
from broker.app.doctor import storage as doctor_storage
from broker.app.doctor.configuration import check_configuration
from broker.app.doctor.files import check_certificates, check_permissions
from broker.app.doctor.network import check_names
from broker.app.doctor.storage import check_disk
from broker.app.secrets import new_ring
from broker.clock import SystemClock
from broker.settings import Settings
from broker.store import keys
from broker.store.node_report import NodeReport
from broker.store.protocol import Store
from tests.faults.certificates import self_signed
from tests.stores import SharedStore

DAY_MS = 86_400_000
HEALTHY = NodeReport("9.1.0", 1_000_000, 100, 0, writes_file=True, rewrites_file=True)
FULL = replace(HEALTHY, memory=900, memory_limit=1_000)


def states(findings: list[Finding]) -> list[tuple[str, State]]:
    return [(finding.check, finding.state) for finding in findings]


def problems(findings: list[Finding]) -> list[Finding]:
    """Those that are not ok; each has an action."""
    found = [finding for finding in findings if finding.state is not State.OK]
    assert all(finding.action for finding in found)
    assert not any(finding.action for finding in findings if finding.state is State.OK)
    return found


def test_settings_of_one_machine_are_fine(tmp_path: Path) -> None:
    assert states(list(check_configuration(Settings(data_dir=tmp_path)))) == [("settings", State.OK)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(topics_dir=Path("/nowhere")), "topics: "),
        (Settings(auth="smart", clients_dir=Path("/nowhere")), "clients: "),
        (Settings(outbound_auth=Path("/nowhere")), "outbound rules: "),
        (Settings(write_targets=Path("/nowhere")), "write targets: "),
        (Settings(mappings_dir=Path("/nowhere")), "mappings: "),
        (Settings(host="192.0.2.1"), "BROKER_HOST=192.0.2.1 would let anyone"),
    ],
)
def test_what_keeps_a_broker_from_starting_is_a_failure(settings: Settings, words: str) -> None:
    failures = [each for each in problems(list(check_configuration(settings))) if each.state is State.FAILURE]
    assert [each.finding.startswith(words) for each in failures] == [True]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(redis_url="redis://store"), "there is no high-water file"),
        (Settings(redis_url="redis://store"), "there is no key ring"),
        (Settings(audit=False), "there is no audit trail"),
        (Settings(allow_unsafe_store=True), "BROKER_ALLOW_UNSAFE_STORE is on"),
        (Settings(host="192.0.2.1", allow_open=True), "there is no access control"),
        (Settings(host="192.0.2.1", allow_open=True), "clients reach the broker in clear text"),
    ],
)
def test_what_is_risky_is_a_warning(settings: Settings, words: str) -> None:
    found = problems(list(check_configuration(settings)))
    assert all(each.state is State.WARNING for each in found)
    assert any(each.finding.startswith(words) for each in found)


def test_files_with_secrets_that_others_can_open_are_failures(tmp_path: Path) -> None:
    ring = tmp_path / "key-ring.json"
    new_ring().write(ring, is_new=True)
    settings = Settings(data_dir=tmp_path / "none", key_ring=ring)
    assert states(list(check_permissions(settings))) == [("permissions", State.OK)]
    for mode, state in ((0o640, State.OK), (0o660, State.WARNING), (0o604, State.FAILURE)):
        ring.chmod(mode)
        assert states(list(check_permissions(settings))) == [("permissions", state)], oct(mode)
    ring.chmod(0o600)
    tmp_path.chmod(0o755)
    [finding] = check_permissions(Settings(data_dir=tmp_path))
    assert finding.action.startswith(f"Run chmod 0700 {tmp_path}")


def test_a_settings_file_is_secret_if_a_url_in_it_has_a_password(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    for text, state in (
        ('redis_url = "redis://store"', State.OK),
        ('redis_url = "redis://:s3cret@store"', State.FAILURE),
    ):
        file.write_text(text)
        file.chmod(0o644)
        settings = Settings.from_environment({"BROKER_CONFIG": str(file)})
        assert states(list(check_permissions(settings))) == [("permissions", state)], text


def test_every_setting_that_names_a_file_is_judged_or_known_to_need_no_check() -> None:
    """A new one fails here: its place is in one of the lists of `files.py`, or below."""
    paths = {each.name for each in fields(Settings) if each.metadata["kind"].name == "path"}
    without_secrets = {
        *("topics_dir", "mappings_dir", "profiles_dir", "clients_dir", "issuers", "write_targets"),
        *("mqtt_topics", "high_water_file", "data_dir", "key_ring", "config"),
    }
    judged = {*files.SECRETS, *files.FOLDERS_OF_SECRETS, *files.CERTIFICATES_OF}
    assert judged | without_secrets == paths
    assert not judged & without_secrets


def test_certificates_are_reported_before_they_expire(tmp_path: Path) -> None:
    settings = Settings(tls_cert=self_signed(tmp_path / "broker.pem"))
    now_ms = SystemClock().now_ms() + DAY_MS // 2  # the certificate has half a day
    for days, state in ((-30, State.OK), (0, State.WARNING), (2, State.FAILURE)):
        found = list(check_certificates(settings, now_ms + days * DAY_MS))
        assert states(found) == [("certificates", state)]
        assert "CN=broker expire" in found[0].finding
        assert (f", in {0 - days} days" in found[0].finding) is (state is not State.FAILURE)


def test_the_settings_that_name_no_certificate_are_fine(tmp_path: Path) -> None:
    assert states(list(check_certificates(Settings(), 0))) == [("certificates", State.OK)]
    no_certificate = tmp_path / "empty.pem"
    no_certificate.write_text("nothing")
    [finding] = check_certificates(Settings(egress_ca_file=no_certificate), 0)
    assert finding.state is State.FAILURE
    assert "has no certificate in PEM form" in finding.finding


@pytest.mark.parametrize(
    ("report", "found"),
    [
        (HEALTHY, [State.OK]),
        (FULL, [State.WARNING]),
        (replace(HEALTHY, writes_file=False), [State.FAILURE, State.OK]),
        (replace(HEALTHY, rewrites_file=False), [State.WARNING, State.OK]),
    ],
)
def test_a_store_that_is_full_or_cannot_write_is_reported(report: NodeReport, found: list[State]) -> None:
    findings = list(doctor_storage._of_nodes([report]))
    assert [finding.state for finding in findings] == found
    problems(findings)


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "state"),
    [
        (999_000, 1_001_000, State.OK),
        (1_000_500, 1_000_600, State.OK),
        (1_002_000, 1_002_100, State.WARNING),
        (900_000, 901_000, State.FAILURE),
    ],
)
def test_clocks_that_differ_are_reported_whatever_the_answer_took(
    before_ms: int, after_ms: int, state: State
) -> None:
    assert states(list(doctor_storage._of_clock([HEALTHY], before_ms, after_ms))) == [("clock", state)]


def test_a_disk_without_room_for_a_rewrite_is_a_failure(tmp_path: Path) -> None:
    def found(memory: int) -> State:
        needing = replace(HEALTHY, memory=memory)
        [finding] = check_disk(Settings(data_dir=tmp_path / "new"), [needing])
        problems([finding])
        return finding.state

    assert found(1) is State.OK
    assert found(10**18) is State.FAILURE


async def test_names_that_have_no_address_are_failures() -> None:
    settings = Settings(base_url="http://127.0.0.1:8080", smtp_url="smtp://no..host")
    found = problems([finding async for finding in check_names(settings)])
    assert [
        finding.finding.startswith("no..host of BROKER_SMTP_URL has no address") for finding in found
    ] == [True]


async def test_a_store_that_does_not_answer_is_a_failure_and_the_rest_is_checked(tmp_path: Path) -> None:
    settings = Settings(redis_url=f"unix://{tmp_path}/nobody.sock")
    found = await examine(settings)
    assert ("store", State.FAILURE) in states(found)
    assert {finding.check for finding in found} >= {"settings", "DNS", "certificates", "permissions"}


async def test_a_data_set_of_another_schema_is_a_failure(
    store: Store, shared_store: SharedStore, settings: Settings
) -> None:
    assert ("store", State.FAILURE) not in states(await examine(settings))
    await store.send([("HSET", keys.LAYOUT, "schema", 99)])
    found = await examine(settings)
    [finding] = [each for each in found if each.check == "store" and each.state is State.FAILURE]
    assert finding.finding.startswith("the data set has schema 99")
    assert ("endpoints", State.OK) not in states(found), "what another schema has is not read"
