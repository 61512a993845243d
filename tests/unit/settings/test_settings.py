"""Settings: which values the environment may hold, and the one-line errors for all others."""

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.settings.environment import Agreement, values_to_compare

WITHOUT_WRITTEN_DEFAULT = {"BROKER_BASE_URL", "BROKER_REDIS_URL", "BROKER_TOPICS_DIR", "BROKER_EGRESS_ALLOW"}


def refusal(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({"PATH": "/bin", "BROKER_PORT": ""}) == Settings()


def test_the_defaults_that_the_docs_show_are_the_real_ones() -> None:
    shown = {name: default for name, _, default, _ in Settings.describe()}
    written = {name: default for name, default in shown.items() if name not in WITHOUT_WRITTEN_DEFAULT}
    assert Settings.from_environment(written) == Settings()


def test_each_setting_is_described_by_type_and_sentence() -> None:
    described = Settings.describe()
    names = [f"BROKER_{setting.name.upper()}" for setting in fields(Settings)]
    assert [name for name, *_ in described] == names
    assert all(kind and sentence.endswith(".") for _, kind, _, sentence in described)


def test_values_of_every_kind_are_read() -> None:
    settings = Settings.from_environment(
        {
            "BROKER_HOST": "::1",
            "BROKER_PORT": "9000",
            "BROKER_REDIS_URL": "rediss://user:pw@redis.example:6380/0",
            "BROKER_DATA_DIR": "/var/lib/broker",
            "BROKER_TOPICS_DIR": "mine",
            "BROKER_ALLOW_OPEN": "Yes",
            "BROKER_EGRESS_ALLOW": "10.0.0.0/8, 192.168.1.7  fd00::/8",
            "BROKER_DURABILITY": "everysec",
            "BROKER_RETRY_BASE": "500ms",
            "BROKER_RETRY_BUDGET": "5m",
            "BROKER_RETENTION": "7d",
            "BROKER_LOG_LEVEL": "WARNING",
            "BROKER_MAX_BODY": "512KiB",
            "BROKER_MAX_NOTIFICATION": "1000000",
        }
    )
    assert settings.base_url == "http://[::1]:9000"
    assert settings.redis_url == "rediss://user:pw@redis.example:6380/0"
    assert settings.data_dir == Path("/var/lib/broker")
    assert settings.topics_dir == Path("mine")
    assert settings.allow_open is True
    assert settings.egress_allow == tuple(map(ip_network, ("10.0.0.0/8", "192.168.1.7/32", "fd00::/8")))
    assert settings.durability == "everysec"
    assert settings.retry_base == timedelta(milliseconds=500)
    assert settings.retry_budget == timedelta(minutes=5)
    assert settings.retention == timedelta(days=7)
    assert settings.log_level == "warning"
    assert settings.max_body == 512 * 1024
    assert settings.max_notification == 1_000_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PARTITIONS", "0"),
        ("AUTH", "on"),
        ("ALLOW_OPEN", "maybe"),
        ("EGRESS_ALLOW", "10.0.0.1/8"),
        ("EGRESS_ALLOW", "intranet"),
        ("DURABILITY", "none"),
        ("RETRY_BASE", "1"),
        ("RETRY_BASE", "1 week"),
        ("RETRY_BASE", "-1s"),
        ("MAX_BODY", "5m"),
        ("MAX_BODY", "0"),
        ("BASE_URL", "broker.example"),
        ("BASE_URL", "https://broker.example/?a=b"),
        ("BASE_URL", "https://broker.example:70000"),
        ("REDIS_URL", "http://redis"),
        ("REDIS_URL", "redis+cluster://"),
        ("REDIS_URL", "redis+cluster://a:7000,b:port"),
        ("REPLICAS", "-1"),
        ("LOG_LEVEL", "trace"),
        ("CORS_ORIGINS", "app.example.org"),
        ("CORS_ORIGINS", "https://app.example.org/path"),
        ("SEARCH_INDEXES", "Observation"),
        ("SEARCH_INDEXES", "observation=code"),
        ("SEARCH_INDEXES", "Observation=code;Observation=device"),
        ("SEARCH_INDEXES", "Observation=code,code"),
        ("SEARCH_INDEXES", "Observation=code@moment"),
        ("SEARCH_INDEXES", "Observation=code+"),
        ("EGRESS_PROXY", "https://proxy:3128"),
        ("EGRESS_PROXY", "proxy:3128"),
        ("EGRESS_PROXY", "http://proxy:port"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_what_to_set(name: str, text: str) -> None:
    message = refusal(**{f"BROKER_{name}": text})
    assert f"BROKER_{name}=" in message
    assert text in message
    assert "is not valid. Set " in message


def test_a_refused_url_does_not_show_its_password() -> None:
    assert "s3cret" not in refusal(BROKER_REDIS_URL="http://broker:s3cret@redis")


def test_every_origin_is_refused_without_access_control() -> None:
    assert "List the origins" in refusal(BROKER_CORS_ORIGINS="*")


def test_settings_do_not_show_passwords_when_printed() -> None:
    settings = Settings(redis_url="redis://:s3cret@redis", egress_proxy="http://user:s3cret@proxy")
    assert "s3cret" not in repr(settings)


def test_a_misspelled_setting_is_refused_with_the_likely_one() -> None:
    assert refusal(BROKER_PROT="1") == "BROKER_PROT is not a setting. Did you mean BROKER_PORT?"
    assert "The settings are BROKER_ALLOW_OPEN" in refusal(BROKER_XYZZY="1")


def test_the_credentials_of_the_commands_are_no_settings_and_stop_no_broker() -> None:
    Settings.from_environment({"BROKER_CLIENT_ID": "operator", "BROKER_CLIENT_KEY": "key.pem"})
    assert "BROKER_CLIENTS_DIR" in refusal(BROKER_CLIENT_DIR="clients")


def test_retention_covers_the_retry_budget() -> None:
    message = refusal(BROKER_RETENTION="36h", BROKER_RETRY_BUDGET="48h")
    assert message.startswith("BROKER_RETENTION=36h is too short. Set at least BROKER_RETRY_BUDGET (2d)")
    Settings.from_environment({"BROKER_RETENTION": "2d", "BROKER_RETRY_BUDGET": "48h"})


def test_retry_delays_are_positive_and_in_order() -> None:
    assert "BROKER_RETRY_BASE" in refusal(BROKER_RETRY_BASE="0s")
    assert "BROKER_RETRY_MAX=1s" in refusal(BROKER_RETRY_BASE="2s", BROKER_RETRY_MAX="1s")


def test_the_base_url_loses_its_trailing_slash() -> None:
    assert Settings(base_url="https://broker.example/fhir/").base_url == "https://broker.example/fhir"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # the point of the test


def test_topics_in_the_working_directory_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of_the_package = Settings().topics_dir
    (tmp_path / "topics").mkdir()
    assert Settings().topics_dir == tmp_path / "topics"
    assert (of_the_package / "vital-signs.json").is_file()
    assert (of_the_package.parent / "py.typed").is_file()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_an_open_broker_may_listen_on_loopback(host: str) -> None:
    Settings(host=host).refuse_open()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "broker.example"])
def test_an_open_broker_on_other_addresses_needs_the_flag(host: str) -> None:
    with pytest.raises(ConfigurationError, match="BROKER_ALLOW_OPEN=true"):
        Settings(host=host).refuse_open()
    Settings(host=host, allow_open=True).refuse_open()
    Settings(host=host, auth="smart").refuse_open()


@pytest.mark.parametrize("url", ["redis+cluster://a:7000", "rediss+cluster://user:pw@a:7000,b,[::1]:7002"])
def test_a_cluster_url_lists_its_nodes(url: str) -> None:
    assert Settings.from_environment({"BROKER_REDIS_URL": url}).redis_url == url


def test_values_that_processes_compare_are_written_as_in_the_environment() -> None:
    required = {
        "BROKER_BASE_URL": "https://broker.example",
        "BROKER_DURABILITY": "everysec",
        "BROKER_REPLICAS": "1",
        "BROKER_RESUME": "newest",
        "BROKER_RETENTION": "8d",
        "BROKER_KEEP": "Observation=9d,Patient=forever",
        "BROKER_SEARCH_INDEXES": "Observation=subject+code@date,device;Device=;*=patient",
        "BROKER_AUTH": "off",
        "BROKER_AUDIT": "false",
        "BROKER_AUDIT_RETENTION": "forever",
    }
    expected = {"BROKER_EGRESS_ALLOW": "10.0.0.0/8,192.168.1.0/24", "BROKER_RETRY_MAX": "90s"}
    settings = Settings.from_environment(required | expected)
    assert values_to_compare(settings, Agreement.REQUIRED) == required
    compared = values_to_compare(settings, Agreement.EXPECTED)
    assert expected.items() <= compared.items()
    assert values_to_compare(Settings(), Agreement.REQUIRED)["BROKER_KEEP"] == "unset"
