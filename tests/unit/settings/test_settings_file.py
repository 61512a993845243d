"""The TOML file of `BROKER_CONFIG`: which settings it may hold and in what form, and what wins over it."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.settings.written import CONFIG, ENVIRONMENT, masked
from tests.unit.settings.test_settings import WITHOUT_WRITTEN_DEFAULT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker.toml"


def settings_of(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return Settings.from_environment({"BROKER_CONFIG": str(file)} | environ)


def refusal(file: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(file, text, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_setting_can_stand_in_the_file(file: Path) -> None:
    written = {
        each.variable: each.default
        for each in Settings.describe()
        if each.variable not in {*WITHOUT_WRITTEN_DEFAULT, CONFIG}
    }
    lines = [f"{name.removeprefix('BROKER_').lower()} = {json.dumps(text)}" for name, text in written.items()]
    assert len(lines) > 60
    assert replace(settings_of(file, "\n".join(lines)), config=None) == Settings()


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("port = 9000", "port", 9000),
        ('port = "9000"', "port", 9000),
        ("max_body = 512", "max_body", 512),
        ('max_body = "512KiB"', "max_body", 512 * 1024),
        ("allow_open = true", "allow_open", True),
        ("audit = false", "audit", False),
        ('audit = "off"', "audit", False),
        ('retention = "8d"', "retention", timedelta(days=8)),
        ('data_dir = "/var/lib/broker"', "data_dir", Path("/var/lib/broker")),
        (
            'egress_allow = ["10.0.0.0/8", "fd00::/8"]',
            "egress_allow",
            (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        ),
        ('egress_allow = "10.0.0.0/8"', "egress_allow", (ip_network("10.0.0.0/8"),)),
        (
            'cors_origins = ["https://a.example", "https://b.example"]',
            "cors_origins",
            ("https://a.example", "https://b.example"),
        ),
        ('context_elements = ["Patient.name"]', "context_elements", ("Patient.name",)),
        (
            '[keep]\nObservation = "8d"\nEncounter = "forever"',
            "keep",
            (("Observation", timedelta(days=8)), ("Encounter", None)),
        ),
        (
            '[profile_policies]\nward = "warn"\n"fhir:inbox" = "reject"',
            "profile_policies",
            (("ward", "warn"), ("fhir:inbox", "reject")),
        ),
        (
            '[search_indexes]\nObservation = ["subject+code@date", "code"]\nDevice = []\n"*" = "subject"',
            "search_indexes",
            (("Observation", ("subject+code@date", "code")), ("Device", ()), ("*", ("subject",))),
        ),
        ("mqtt_version = 5", "mqtt_version", "5"),
        ('failpoint = ["append:pause=1@2"]', None, None),
    ],
)
def test_a_value_has_the_form_that_toml_has_for_it(
    file: Path, line: str, name: str | None, value: Any
) -> None:
    if name is None:
        assert "is not valid. Set name:action@k" in refusal(file, line)
    else:
        assert getattr(settings_of(file, line), name) == value


def test_a_variable_wins_over_the_file_and_an_empty_one_does_not(file: Path) -> None:
    text = 'port = 9000\nhost = "::1"\nredis_url = ""\n'
    settings = settings_of(file, text, BROKER_PORT="9001", BROKER_HOST=" ")
    assert (settings.port, settings.host, settings.redis_url) == (9001, "::1", None)


def test_what_is_written_says_where_it_is_from(file: Path) -> None:
    file.write_text('port = 9000\nhost = "::1"')
    written = Settings.configuration({"BROKER_CONFIG": str(file), "BROKER_PORT": "9001"}).written
    assert {name: tuple(each) for name, each in written.items()} == {
        "config": (str(file), ENVIRONMENT),
        "port": ("9001", ENVIRONMENT),
        "host": ("::1", str(file)),
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('port = "eighty"', 'port = "eighty" is not valid. Set a whole number from 0 to 65535.'),
        ("port = 80.5", "port = 80.5 is not valid. Set a whole number"),
        ("port = true", "port = true is not valid. Set a whole number"),
        ("port = [80]", "port = [80] is not valid. Set a whole number"),
        ("host = 5", "host = 5 is not valid. Set text."),
        ("drain = 10", "drain = 10 is not valid. Set a number and a unit"),
        ("audit = 1", "audit = 1 is not valid. Set true or false."),
        ("data_dir = 2026-11-26", 'data_dir = "2026-11-26" is not valid. Set a path.'),
        ("egress_allow = [10]", "egress_allow = [10] is not valid. Set networks"),
        ('egress_allow = ["intranet"]', 'egress_allow = ["intranet"] is not valid. Set networks'),
        ("keep = {Observation = 8}", 'keep = {"Observation": 8} is not valid. Set resource types'),
        ("prot = 1", "prot is not a setting. Did you mean port?"),
        ("BROKER_PORT = 1", "BROKER_PORT is not a setting. Did you mean port?"),
        ("redis-url = 'redis://h'", "redis-url is not a setting. Did you mean redis_url?"),
        ("config = 'other.toml'", "config is not a setting."),
        ("[server]\nport = 1", "server is not a setting."),
        ("xyzzy = 1", "xyzzy is not a setting. The settings are allow_open, "),
    ],
)
def test_a_wrong_name_and_a_wrong_value_are_refused_with_the_file_and_what_to_set(
    file: Path, line: str, says: str
) -> None:
    assert f"{file}: {says}" in refusal(file, line)


def test_a_refused_url_does_not_show_its_password(file: Path) -> None:
    assert "s3cret" not in refusal(file, 'redis_url = "http://broker:s3cr@t/s3cret@redis"')
    assert masked("redis://h:6379/0?password=s3cret&db=1") == "redis://h:6379/0?password=***&db=1"


def test_a_wrong_value_in_the_file_is_refused_even_where_a_variable_wins(file: Path) -> None:
    assert "port" in refusal(file, "port = -1", BROKER_PORT="9000")


def test_a_file_that_cannot_be_read_and_one_that_is_not_toml_are_refused(file: Path) -> None:
    assert refusal(file, "port 9000").startswith(f"{file} is not TOML: ")
    file.write_bytes(b"host = '\xff'")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        Settings.from_environment({"BROKER_CONFIG": str(file)})
    with pytest.raises(ConfigurationError, match=r"^BROKER_CONFIG=absent.toml cannot be read: No such file"):
        Settings.from_environment({"BROKER_CONFIG": "absent.toml"})


def test_every_problem_is_collected(file: Path) -> None:
    file.write_text("prot = 1\nport = 'x'")
    environ = {"BROKER_CONFIG": str(file), "BROKER_XYZZY": "1", "BROKER_DRAIN": "1"}
    problems = Settings.configuration(environ).problems
    assert [(each.setting, each.source) for each in problems] == [
        ("BROKER_XYZZY", ENVIRONMENT),
        ("BROKER_DRAIN", ENVIRONMENT),
        ("prot", str(file)),
        ("port", str(file)),
    ]
