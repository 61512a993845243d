"""Every setting: name, type, default, unit, and the sentence of docs/configuration.md.

Each group of settings has a module of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from broker import failpoints
from broker.errors import ConfigurationError
from broker.settings import environment, written
from broker.settings.access import AccessSettings
from broker.settings.attempts import AttemptSettings
from broker.settings.audit import AuditSettings
from broker.settings.consistency import check_together, is_loopback
from broker.settings.console import ConsoleSettings
from broker.settings.delivery import DeliverySettings
from broker.settings.environment import Agreement, Description, setting
from broker.settings.flow import FlowSettings
from broker.settings.kinds import (
    BASE_URL,
    BOOL,
    DURATION,
    FAILPOINTS,
    NETWORKS,
    ORIGINS,
    PATH,
    PROXY_URL,
    REDIS_URL,
    SMTP_URL,
    TEXT,
    Network,
    choice,
    number,
)
from broker.settings.limits import LimitSettings
from broker.settings.mappings import MappingSettings
from broker.settings.mqtt import MqttSettings
from broker.settings.outbound import OutboundSettings
from broker.settings.profiles import ProfileSettings
from broker.settings.readings import ReadingSettings
from broker.settings.retention import RetentionSettings
from broker.settings.sealing import SealingSettings
from broker.settings.search import SearchSettings
from broker.settings.telemetry import TelemetrySettings
from broker.settings.tls import TlsSettings
from broker.settings.written import PREFIX, Configuration


def _topics_dir() -> Path:
    in_working_directory = Path.cwd() / "topics"
    if in_working_directory.is_dir():
        return in_working_directory
    return Path(__file__).resolve().parents[1] / "topics"


@dataclass(frozen=True)
class Settings(
    AccessSettings,
    AttemptSettings,
    AuditSettings,
    ConsoleSettings,
    DeliverySettings,
    FlowSettings,
    LimitSettings,
    MappingSettings,
    MqttSettings,
    OutboundSettings,
    ReadingSettings,
    ProfileSettings,
    RetentionSettings,
    SealingSettings,
    SearchSettings,
    TelemetrySettings,
    TlsSettings,
):
    """The configuration of this process. The variable of a field is `BROKER_` and its name in capitals.

    More attributes than other classes may have: there is one for each setting.
    """

    config: Path | None = setting(
        None,
        PATH,
        "",
        "A TOML file of settings (docs/configuration.md, In a file). Variables win over it; it cannot name "
        "another file.",
    )
    host: str = setting("127.0.0.1", TEXT, "127.0.0.1", "The address to listen on.")
    port: int = setting(8080, number(0, 65_535), "8080", "The port to listen on; 0 takes any free port.")
    base_url: str = setting(
        "",
        BASE_URL,
        "http://{host}:{port}",
        "The URL by which clients reach the broker, without /r4, /r4b or /r5. Links and full URLs "
        "start with it. With BROKER_TLS_CERT the default is https.",
        agreement=Agreement.REQUIRED,
    )
    data_dir: Path = setting(
        Path("./broker-data"), PATH, "./broker-data", "The directory for the files of the embedded store."
    )
    redis_url: str | None = setting(
        None,
        REDIS_URL,
        "",
        "The Redis, Valkey or Cluster to use. Unset: an embedded server in BROKER_DATA_DIR.",
        is_secret=True,
    )
    high_water_file: Path | None = setting(
        None,
        PATH,
        "",
        "The file in which matchers record how far the store has come, so that they detect a rollback"
        " even after all processes were restarted. Unset: a file in BROKER_DATA_DIR with an embedded "
        "store, no file otherwise.",
    )
    topics_dir: Path = setting(
        _topics_dir,
        PATH,
        "./topics, else the topics of the package",
        "The directory of the SubscriptionTopic files.",
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        ORIGINS,
        "",
        "The origins of browser apps that may use the broker (CORS). Unset: none. * allows every origin: "
        "never with BROKER_AUTH=off, since any web page could then read everything.",
    )
    egress_allow: tuple[Network, ...] = setting(
        (),
        NETWORKS,
        "",
        "Networks with addresses that are not public and may still be notified; plain http is allowed there. "
        "Unset: loopback, if the broker listens on loopback and has the embedded store; otherwise none.",
        agreement=Agreement.EXPECTED,
    )
    egress_proxy: str | None = setting(
        None,
        PROXY_URL,
        "",
        "The HTTP proxy through which endpoints are reached (CONNECT, to the address that was judged;"
        " user and password may be part of the URL).",
        is_secret=True,
    )
    egress_ca_file: Path | None = setting(
        None,
        PATH,
        "",
        "A PEM file of certificate authorities that are trusted for endpoints besides the system's.",
    )
    durability: Literal["fsync", "everysec"] = setting(
        "fsync",
        choice("fsync", "everysec"),
        "fsync",
        "When a change is acknowledged. fsync: after it is on disk. everysec: up to a second before that.",
        agreement=Agreement.REQUIRED,
    )
    replicas: int = setting(
        0,
        number(0, 5),
        "0",
        "The number of replicas that must have a change before it is acknowledged, and an event "
        "before it is sent.",
        agreement=Agreement.REQUIRED,
    )
    partitions: int = setting(
        16,
        number(1, 1024),
        "16",
        "The number of partitions of the change log. Cannot change once there is data.",
    )
    shards: int = setting(
        16,
        number(1, 1024),
        "16",
        "The number of shards of the delivery state. Cannot change once there is data.",
    )
    past_end: Literal["off", "ignore"] = setting(
        "off",
        choice("off", "ignore"),
        "off",
        "What happens to a Subscription that is registered with an end in the past. off: it is accepted with "
        "the status off, and a warning. ignore: it is accepted without the end, for test suites whose "
        "examples are old.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "info",
        "The lowest level of log lines that are written.",
    )
    log_format: Literal["text", "json"] = setting(
        "text",
        choice("text", "json"),
        "text",
        "How log lines are written to stderr. text: one line of key=value. json: one JSON object on a line.",
    )
    drain: timedelta = setting(
        timedelta(seconds=10),
        DURATION,
        "10s",
        "How long a stop waits for requests and notifications in progress.",
    )
    smtp_url: str | None = setting(
        None,
        SMTP_URL,
        "",
        "The mail relay of the email channel. Unset: there is no email channel.",
        is_secret=True,
    )
    smtp_from: str = setting(
        "fhir-broker@localhost", TEXT, "fhir-broker@localhost", "The sender address of mails."
    )
    allow_unsafe_store: bool = setting(
        False, BOOL, "false", "Allows a store that may lose acknowledged changes."
    )
    failpoint: tuple[failpoints.Failpoint, ...] = setting(
        (),
        FAILPOINTS,
        "",
        "For tests of the broker itself: where this process kills itself, pauses or raises an error.",
    )

    def __post_init__(self) -> None:
        if not self.base_url:
            host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
            scheme = "http" if self.tls_cert is None else "https"
            object.__setattr__(self, "base_url", f"{scheme}://{host}:{self.port}")
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        check_together(self)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Of the variables, and of the TOML file that `BROKER_CONFIG` names.

        Raises `ConfigurationError`, one line, for the first setting that is not valid.
        """
        configuration = cls.configuration(environ)
        for problem in configuration.problems:
            raise ConfigurationError(problem.line)
        return cls(**configuration.values)

    @classmethod
    def configuration(cls, environ: Mapping[str, str]) -> Configuration:
        """What is written of the settings, with every problem. Raises `ConfigurationError` if the file cannot
        be read.
        """
        return written.read(fields(cls), environ)

    @classmethod
    def describe(cls) -> list[Description]:
        """Every setting, for the documentation."""
        return environment.describe(fields(cls))

    @property
    def high_water_path(self) -> Path | None:
        """The high-water file; None if there is none."""
        if self.high_water_file is None and self.redis_url is None:
            return self.data_dir / "high-water.json"
        return self.high_water_file

    @property
    def key_ring_path(self) -> Path | None:
        """The file of the key ring; None if there is none."""
        if self.key_ring is None and self.redis_url is None:
            return self.data_dir / "key-ring.json"
        return self.key_ring

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def has_console(self) -> bool:
        """Whether the API serves the console."""
        if self.console == "auto":
            return self.auth != "off" or self.is_loopback
        return self.console == "on"

    def refuse_open(self) -> None:
        """Raises `ConfigurationError` if anyone on the network could read and write everything."""
        if self.auth == "off" and not self.is_loopback and not self.allow_open:
            raise ConfigurationError(
                f"{PREFIX}HOST={self.host} would let anyone on the network read and write everything. "
                f"Set {PREFIX}AUTH=smart or a loopback address, or {PREFIX}ALLOW_OPEN=true if something else "
                "protects the broker."
            )
