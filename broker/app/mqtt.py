"""Builds the role `mqtt`: the source that takes the messages of an MQTT server as readings."""

import functools
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from broker.app.parts import Parts
from broker.egress.mqtt import MqttConnection, MqttServer, Receive
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.sources.mqtt import MqttSource, ReadingAdmission
from broker.sources.mqtt_topics import TopicRules

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_VERSIONS = {"5": 5, "3.1.1": 4}


def build_mqtt_source(parts: Parts, intake: ReadingAdmission) -> MqttSource:
    """Raises `ConfigurationError` for settings and files that cannot be used."""
    server = mqtt_server(parts.settings)
    if parts.settings.mqtt_topics is None:
        raise ConfigurationError("BROKER_MQTT_TOPICS is not set. Name the file of the topics to read.")
    rules = TopicRules.read(parts.settings.mqtt_topics)
    return MqttSource(functools.partial(_connect, server), rules, intake, parts.clock, parts.stop)


async def _connect(server: MqttServer, topics: Sequence[tuple[str, int]], receive: Receive) -> MqttConnection:
    return await MqttConnection.open(server, topics, receive)


def mqtt_server(settings: Settings) -> MqttServer:
    """Raises `ConfigurationError` for settings and files that cannot be used."""
    if settings.mqtt_url is None:
        raise ConfigurationError("BROKER_MQTT_URL is not set. Name the MQTT server, as mqtt://host:1883.")
    parts = urlsplit(settings.mqtt_url)
    password = unquote(parts.password or "")
    if settings.mqtt_password_file is not None:
        try:
            password = settings.mqtt_password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"BROKER_MQTT_PASSWORD_FILE={settings.mqtt_password_file} cannot be read. Name a text file."
            ) from error
    return MqttServer(
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        client_id=settings.mqtt_client_id,
        version=_VERSIONS[settings.mqtt_version],
        tls=_tls(settings) if parts.scheme == "mqtts" else None,
        username=unquote(parts.username or ""),
        password=password,
        session_s=min(round(settings.mqtt_session.total_seconds()), 0xFFFFFFFF),
        max_in_flight=settings.mqtt_in_flight,
    )


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name, path, load in (
        ("BROKER_MQTT_CA_FILE", settings.mqtt_ca_file, context.load_verify_locations),
        ("BROKER_MQTT_CERT", settings.mqtt_cert, context.load_cert_chain),
    ):
        if path is None:
            continue
        try:
            load(path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{name}={path} can't be used: {error}. Name a PEM file.") from error
    return context
