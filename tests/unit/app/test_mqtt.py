"""How the settings of the MQTT source become a server, and what is said of those that cannot be used."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.app.mqtt import mqtt_server
from broker.errors import ConfigurationError
from broker.settings import Settings
from tests.faults.certificates import self_signed

SETTINGS = Settings(mqtt_url="mqtt://mqtt.example.org")


def test_the_ports_are_those_of_the_schemes_and_versions_those_of_the_protocol(tmp_path: Path) -> None:
    plain = mqtt_server(SETTINGS)
    assert (plain.host, plain.port, plain.version, plain.tls) == ("mqtt.example.org", 1883, 5, None)
    assert (plain.session_s, plain.client_id) == (7 * 86_400, "fhir-broker")
    older = replace(SETTINGS, mqtt_url="mqtts://mqtt.example.org:8884", mqtt_version="3.1.1")
    secured = mqtt_server(older)
    assert (secured.port, secured.version) == (8884, 4)
    assert secured.tls is not None
    assert mqtt_server(replace(older, mqtt_url="mqtts://mqtt.example.org")).port == 8883


def test_the_password_is_that_of_the_file_or_the_url_and_is_not_shown(tmp_path: Path) -> None:
    settings = replace(SETTINGS, mqtt_url="mqtt://gateway:se%20cret@mqtt.example.org")
    server = mqtt_server(settings)
    assert (server.username, server.password) == ("gateway", "se cret")
    assert "se cret" not in repr(server)
    assert "se%20cret" not in repr(settings)
    (tmp_path / "password").write_text("other\n")
    assert mqtt_server(replace(settings, mqtt_password_file=tmp_path / "password")).password == "other"


def test_a_session_for_ever_is_the_longest_that_the_protocol_knows() -> None:
    assert mqtt_server(replace(SETTINGS, mqtt_session=timedelta(days=99_999))).session_s == 0xFFFFFFFF


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    secured = replace(SETTINGS, mqtt_url="mqtts://mqtt.example.org")
    (tmp_path / "text").write_text("no certificate")
    for name in ("mqtt_ca_file", "mqtt_cert"):
        for file in (tmp_path / "missing", tmp_path / "text"):
            options: dict[str, Any] = {name: file}
            with pytest.raises(ConfigurationError, match=f"BROKER_{name.upper()}="):
                mqtt_server(replace(secured, **options))
    own = self_signed(tmp_path / "own.pem")
    assert mqtt_server(replace(secured, mqtt_ca_file=own, mqtt_cert=own)).tls is not None
    with pytest.raises(ConfigurationError, match="BROKER_MQTT_PASSWORD_FILE="):
        mqtt_server(replace(SETTINGS, mqtt_password_file=tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="BROKER_MQTT_URL is not set"):
        mqtt_server(Settings())
