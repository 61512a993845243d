"""`fhir-broker doctor` makes a TLS handshake with each server that the settings name by https."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from broker.app.doctor import Finding, State, examine
from broker.app.doctor.handshakes import check_handshakes
from broker.clock import SystemClock
from broker.egress.handshakes import HandshakeFailed, TlsProbe
from broker.settings import Settings
from tests.faults.certificates import self_signed
from tests.integration.raw_endpoint import HERE, Names, fine, listening

PATIENT_S = 120.0
"""The time limit of handshakes that succeed or fail by themselves."""
DAY_MS = 86_400_000


def serving(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def named(
    folder: Path, ca_file: Path, *, issuer: str = "", target: str = "", collector: str = ""
) -> Settings:
    """Settings that name the servers, and trust the certificates of the file."""
    settings = Settings(
        data_dir=folder / "none", egress_allow=(ip_network("127.0.0.0/8"),), egress_ca_file=ca_file
    )
    if issuer:
        path = folder / "issuers.toml"
        path.write_text(
            f'[[issuer]]\nname = "hospital"\nissuer = "{issuer}"\njwks_uri = "{issuer}/keys"\n'
            'audience = "broker"\nscope = "system/Observation.r"\n'
        )
        settings = replace(settings, auth="smart", clients_dir=folder, issuers=path)
    if target:
        path = folder / "targets.toml"
        path.write_text(
            f'[[target]]\nname = "ehr"\nbase = "{target}/fhir"\nidentifier_system = "urn:x"\n'
            'types = ["Observation"]\n'
        )
        settings = replace(settings, write_targets=path)
    return replace(settings, traces_url=collector or None)


async def findings_of(settings: Settings, *, days: int = 0, timeout_s: float = PATIENT_S) -> list[Finding]:
    now_ms = SystemClock().now_ms() + days * DAY_MS + DAY_MS // 2  # far from the full days of a certificate
    found = [finding async for finding in check_handshakes(settings, now_ms, timeout_s)]
    assert {finding.check for finding in found} == {"TLS"}
    assert all(bool(finding.action) is (finding.state is not State.OK) for finding in found)
    return found


def join(file: Path, *parts: Path) -> None:
    file.write_bytes(b"".join(part.read_bytes() for part in parts))


@contextlib.asynccontextmanager
async def https(file: Path) -> AsyncIterator[str]:
    async with listening(fine, serving(file)) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return self_signed(tmp_path / "good.pem", days=100)


async def test_each_server_that_the_settings_name_is_reported_with_the_days_it_has(
    tmp_path: Path, good: Path
) -> None:
    async with https(good) as issuer, https(good) as target, https(good) as collector:
        settings = named(tmp_path, good, issuer=issuer, target=target, collector=collector)
        for days, state in ((0, State.OK), (90, State.WARNING)):
            found = await findings_of(settings, days=days)
            assert [finding.state for finding in found] == [state] * 3
            names = ("the issuer hospital and the keys of the issuer hospital", "the write target ehr")
            for finding, url, name in zip(
                found, (issuer, target, collector), (*names, "BROKER_TRACES_URL"), strict=True
            ):
                assert finding.finding.startswith(f"{url} of {name}: its certificate expires 2")
                assert finding.finding.endswith(f", in {99 - days} days")
        assert {each.state for each in await examine(settings) if each.check == "TLS"} == {State.OK}


async def test_an_expired_certificate_and_one_of_an_unknown_authority_are_failures(
    tmp_path: Path, good: Path
) -> None:
    expired = self_signed(tmp_path / "expired.pem", days=-1)
    unknown = self_signed(tmp_path / "unknown.pem")
    trusted = tmp_path / "trusted.pem"
    join(trusted, good, expired)
    async with https(expired) as issuer, https(unknown) as target:
        settings = named(tmp_path, trusted, issuer=issuer, target=target)
        of_issuer, of_target = await findings_of(settings)
    assert of_issuer.state is of_target.state is State.FAILURE
    assert of_issuer.finding.endswith("the certificate is not accepted: certificate has expired")
    assert "renew" in of_issuer.action
    assert "the certificate is not accepted: self" in of_target.finding
    assert "BROKER_EGRESS_CA_FILE" in of_target.action


async def test_an_address_that_may_not_be_reached_is_a_failure_except_for_the_collector(
    tmp_path: Path, good: Path
) -> None:
    async with https(good) as target, https(good) as collector:
        settings = named(tmp_path, good, target=target, collector=collector)
        of_target, of_collector = await findings_of(
            replace(settings, egress_allow=(), redis_url="redis://store")
        )
    assert of_target.state is State.FAILURE
    assert of_target.finding.endswith("127.0.0.1 is not a public address")
    assert "BROKER_EGRESS_ALLOW" in of_target.action
    assert of_collector.state is State.OK


async def test_a_server_that_does_not_run_is_a_failure_and_without_a_collector_only_spans_are_lost(
    tmp_path: Path, good: Path
) -> None:
    with socket.socket() as bound:  # without listen: its port refuses connections, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{bound.getsockname()[1]}"
        of_target, of_collector = await findings_of(named(tmp_path, good, target=url, collector=url))
    assert (of_target.state, of_collector.state) == (State.FAILURE, State.WARNING)
    assert of_target.finding.endswith("no connection: Connection refused")
    assert "BROKER_EGRESS_PROXY" in of_target.action


async def test_a_server_that_stays_silent_is_waited_for_within_the_time_limit(
    tmp_path: Path, good: Path
) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        settings = named(tmp_path, good, target=f"https://127.0.0.1:{port}")
        [found] = await findings_of(settings, timeout_s=0.2)
    assert found.state is State.FAILURE
    assert found.finding.endswith("no handshake within 0.2 s")


async def test_a_server_without_tls_is_a_failure(tmp_path: Path, good: Path) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(plain) as port:
        [found] = await findings_of(named(tmp_path, good, target=f"https://127.0.0.1:{port}"))
    assert found.state is State.FAILURE
    assert found.finding.endswith("no TLS connection could be made")


async def test_a_server_that_asks_for_a_client_certificate_gets_that_of_the_tenant(
    tmp_path: Path, good: Path
) -> None:
    folder = tmp_path / "certificates" / "default"
    folder.mkdir(parents=True)
    own = self_signed(folder / "127.0.0.1.pem")
    context = serving(good)
    context.load_verify_locations(own)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # later ones refuse after the handshake
    async with listening(fine, context) as port:
        settings = named(tmp_path, good, target=f"https://127.0.0.1:{port}")
        [without] = await findings_of(settings)
        [with_own] = await findings_of(replace(settings, egress_client_certs=folder.parent))
        own.write_text("no certificate")
        [unusable] = await findings_of(replace(settings, egress_client_certs=folder.parent))
    assert (without.state, with_own.state) == (State.FAILURE, State.OK)
    assert unusable.finding.endswith("client certificate for the endpoint cannot be used")
    assert "BROKER_EGRESS_CLIENT_CERTS" in unusable.action


async def test_settings_that_cannot_be_used_for_a_handshake_are_a_failure(tmp_path: Path, good: Path) -> None:
    settings = named(tmp_path, good)
    assert [each.state for each in await findings_of(settings)] == [State.OK]
    [found] = await findings_of(replace(settings, egress_client_certs=tmp_path / "nowhere"))
    assert found.state is State.FAILURE
    assert "BROKER_EGRESS_CLIENT_CERTS" in found.finding


async def test_a_password_in_a_url_is_not_shown(tmp_path: Path, good: Path) -> None:
    [found] = await findings_of(
        named(tmp_path, good, collector="https://ann:secret@127.0.0.1:4318/v1/traces")
    )
    assert found.state is State.WARNING
    assert "https://***@127.0.0.1:4318 of BROKER_TRACES_URL" in found.finding
    assert "secret" not in found.finding


async def test_a_name_without_an_address_is_told_apart() -> None:
    with TlsProbe(HERE, resolve=Names([]), timeout_s=PATIENT_S) as probe:
        with pytest.raises(HandshakeFailed, match=r"nobody\.example can't be resolved") as failed:
            await probe.expiry_s("https://nobody.example")
        assert failed.value.kind == "dns"
