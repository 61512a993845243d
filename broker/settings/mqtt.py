"""The settings of the MQTT source. They are fields of `Settings`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from broker.settings.environment import setting
from broker.settings.kinds import DURATION, MQTT_URL, PATH, TEXT, choice, number


@dataclass(frozen=True)
class MqttSettings:
    """Part of `Settings`."""

    mqtt_url: str | None = setting(
        None,
        MQTT_URL,
        "",
        "The MQTT server whose messages fhir-broker mqtt takes as readings: mqtt://host:1883, or "
        "mqtts://host:8883 for TLS; user and password may be part of the URL.",
        is_secret=True,
    )
    mqtt_topics: Path | None = setting(
        None,
        PATH,
        "",
        "The TOML file of the topics to read: for each topic filter the format, the tenant and what the "
        "topic says of the device (docs/mqtt.md).",
    )
    mqtt_version: Literal["5", "3.1.1"] = setting(
        "5", choice("5", "3.1.1"), "5", "The version of MQTT that the server speaks."
    )
    mqtt_client_id: str = setting(
        "fhir-broker",
        TEXT,
        "fhir-broker",
        "The client id, by which the server keeps messages while the process is disconnected. Each "
        "process that reads from one server needs its own.",
    )
    mqtt_password_file: Path | None = setting(
        None, PATH, "", "A file with the password for the MQTT server; it replaces the one in the URL."
    )
    mqtt_ca_file: Path | None = setting(
        None,
        PATH,
        "",
        "A PEM file of certificate authorities that are trusted for the MQTT server besides the system's.",
    )
    mqtt_cert: Path | None = setting(
        None,
        PATH,
        "",
        "A PEM file with the client certificate for the MQTT server, its chain and its key.",
    )
    mqtt_session: timedelta = setting(
        timedelta(days=7),
        DURATION,
        "7d",
        "How long the MQTT server keeps messages for the process while it is disconnected (MQTT 5; "
        "with 3.1.1 the server decides).",
    )
    mqtt_in_flight: int = setting(
        200,
        number(2, 65_535),
        "200",
        "How many messages the MQTT server may send ahead of their acknowledgements (MQTT 5; with 3.1.1 the "
        "server decides).",
    )
