"""Every setting: name, type, default, unit, sentence. The only module that reads the environment, once, at start.

A value that can't be used ends the start with one line that names the variable, the value and what it takes; so does a `BROKER_*`
variable that is no setting, which is a misspelling more often than not.
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from broker import failpoints
from broker.errors import ConfigurationError
from broker.settings.kinds import (
    BASE_URL,
    BOOL,
    BYTES,
    DURATION,
    FAILPOINTS,
    NETWORKS,
    PATH,
    REDIS_URL,
    SMTP_URL,
    TEXT,
    Kind,
    Network,
    choice,
    number,
    spelled,
)

PREFIX = "BROKER_"


def _about(kind: Kind, shown: str, sentence: str) -> dict[str, Any]:
    """What docs and errors need to know of a field; `shown` is its default as one would write it in the environment."""
    return {"kind": kind, "shown": shown, "sentence": sentence}


def _topics_dir() -> Path:
    here = Path.cwd() / "topics"
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "topics"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this process runs. `BROKER_` and the field's name in capitals is the variable; an empty variable counts as unset."""

    host: str = field(default="127.0.0.1", metadata=_about(TEXT, "127.0.0.1", "The address to listen on."))
    port: int = field(
        default=8080,
        metadata=_about(number(0, 65_535), "8080", "The port to listen on; 0 takes any free one."),
    )
    base_url: str = field(
        default="",
        metadata=_about(
            BASE_URL,
            "http://{host}:{port}",
            "What clients put before /r4, /r4b and /r5; links and full URLs start with it.",
        ),
    )
    data_dir: Path = field(
        default=Path("./broker-data"),
        metadata=_about(PATH, "./broker-data", "Where the embedded store keeps its files."),
    )
    redis_url: str | None = field(
        default=None,
        repr=False,
        metadata=_about(REDIS_URL, "", "The Redis, Valkey or Cluster to use; unset, an embedded one."),
    )
    high_water_file: Path | None = field(
        default=None,
        metadata=_about(
            PATH,
            "",
            "Where matchers note how far the store had come, to find out if it goes back in time; unset, in BROKER_DATA_DIR if the store is embedded.",
        ),
    )
    topics_dir: Path = field(
        default_factory=_topics_dir,
        metadata=_about(
            PATH,
            "./topics, else the topics that come with the broker",
            "The folder of SubscriptionTopic files.",
        ),
    )
    auth: Literal["off", "smart"] = field(
        default="off",
        metadata=_about(choice("off", "smart"), "off", "Who may ask: anyone, or SMART clients."),
    )
    allow_open: bool = field(
        default=False,
        metadata=_about(BOOL, "false", "Lets a broker without access control listen beyond loopback."),
    )
    egress_allow: tuple[Network, ...] = field(
        default=(),
        metadata=_about(
            NETWORKS,
            "",
            "Networks that may be notified although they are not public; there plain http is allowed too.",
        ),
    )
    durability: Literal["fsync", "everysec"] = field(
        default="fsync",
        metadata=_about(
            choice("fsync", "everysec"),
            "fsync",
            "Acknowledge a change when it is on disk, or up to a second before.",
        ),
    )
    replicas: int = field(
        default=0,
        metadata=_about(
            number(0, 5),
            "0",
            "How many replicas must have a change before it is acknowledged, and an event before it is sent.",
        ),
    )
    partitions: int = field(
        default=16,
        metadata=_about(number(1, 1024), "16", "Partitions of the intake log; fixed once there are data."),
    )
    shards: int = field(
        default=16,
        metadata=_about(number(1, 1024), "16", "Shards of the delivery state; fixed once there are data."),
    )
    retry_base: timedelta = field(
        default=timedelta(seconds=1),
        metadata=_about(DURATION, "1s", "The wait after the first failed attempt; it doubles."),
    )
    retry_max: timedelta = field(
        default=timedelta(hours=1), metadata=_about(DURATION, "1h", "The longest wait between two attempts.")
    )
    retry_budget: timedelta = field(
        default=timedelta(hours=72),
        metadata=_about(DURATION, "72h", "How long after its first failure a notification is tried again."),
    )
    resume: Literal["backlog", "newest"] = field(
        default="backlog",
        metadata=_about(
            choice("backlog", "newest"),
            "backlog",
            "What a re-activated subscription gets first: what it missed, or what is new.",
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_about(
            choice("debug", "info", "warning", "error"),
            "info",
            "The least serious log lines that are written.",
        ),
    )
    max_body: int = field(
        default=5 * 1024**2, metadata=_about(BYTES, "5MiB", "The largest request body that is read.")
    )
    max_notification: int = field(
        default=4 * 1024**2,
        metadata=_about(
            BYTES,
            "4MiB",
            "Resources that ride in one notification, at most; a larger one goes alone.",
        ),
    )
    retention: timedelta = field(
        default=timedelta(days=7),
        metadata=_about(
            DURATION, "7d", "How long past versions and events are kept; no less than the retry budget."
        ),
    )
    max_outbox: int = field(
        default=1_000_000,
        metadata=_about(
            number(10, 100_000_000),
            "1000000",
            "Events of one subscription that are kept. Delivered ones beyond it go; undelivered ones go with its status to error.",
        ),
    )
    max_changes: int = field(
        default=1_000_000,
        metadata=_about(
            number(10, 100_000_000),
            "1000000",
            "Changes of one partition that are kept. Matched ones beyond it go; when so many are not matched, producers get 503.",
        ),
    )
    max_refused: int = field(
        default=100_000,
        metadata=_about(
            number(1, 100_000_000), "100000", "Refused entries of the inbox stream that are kept."
        ),
    )
    max_dead_letters: int = field(
        default=10_000,
        metadata=_about(
            number(1, 100_000_000),
            "10000",
            "Changes of one partition that could not be matched and are kept for the operator.",
        ),
    )
    drain: timedelta = field(
        default=timedelta(seconds=10),
        metadata=_about(DURATION, "10s", "How long a stop waits for notifications under way."),
    )
    max_timeout: timedelta = field(
        default=timedelta(seconds=60),
        metadata=_about(
            DURATION,
            "60s",
            "The longest time an endpoint may take to answer, whatever its subscription asks.",
        ),
    )
    smtp_url: str | None = field(
        default=None,
        repr=False,
        metadata=_about(
            SMTP_URL, "", "The mail relay of the email channel; unset, there is no such channel."
        ),
    )
    smtp_from: str = field(
        default="fhir-broker@localhost",
        metadata=_about(TEXT, "fhir-broker@localhost", "The sender of mails."),
    )
    allow_unsafe_store: bool = field(
        default=False,
        metadata=_about(BOOL, "false", "Starts on a store that may lose what was acknowledged."),
    )

    failpoint: tuple[failpoints.Failpoint, ...] = field(
        default=(),
        metadata=_about(
            FAILPOINTS,
            "",
            "For tests of the broker itself: where this process kills itself, stands still or raises an error.",
        ),
    )

    def __post_init__(self) -> None:
        if not self.base_url:
            object.__setattr__(self, "base_url", f"http://{_authority(self.host)}:{self.port}")
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        if self.auth != "off":
            raise ConfigurationError(
                f"{PREFIX}AUTH={self.auth}: access control is not available yet; the value it takes is off"
            )
        if self.retry_base <= timedelta() or self.max_timeout <= timedelta():
            raise ConfigurationError(
                f"{PREFIX}RETRY_BASE and {PREFIX}MAX_TIMEOUT must be longer than no time at all"
            )
        if self.retry_max < self.retry_base:
            raise ConfigurationError(
                f"{PREFIX}RETRY_MAX={spelled(self.retry_max)}: it takes a duration of at least {PREFIX}RETRY_BASE ({spelled(self.retry_base)})"
            )
        if self.retention < self.retry_budget:
            raise ConfigurationError(
                f"{PREFIX}RETENTION={spelled(self.retention)}: it takes a duration of at least {PREFIX}RETRY_BUDGET "
                f"({spelled(self.retry_budget)}), or a retry could find its resources gone"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Raises `ConfigurationError`, one line, for the first variable that can't be used."""
        known = {_variable(one): one for one in fields(cls)}
        for name in sorted(environ):
            if name.startswith(PREFIX) and name not in known:
                words = [one.removeprefix(PREFIX) for one in known]
                near = difflib.get_close_matches(name.removeprefix(PREFIX), words, 1)
                hint = f"did you mean {PREFIX}{near[0]}?" if near else f"the settings are {', '.join(known)}"
                raise ConfigurationError(f"{name} is no setting; {hint}")
        given: dict[str, Any] = {}
        for name, one in known.items():
            text = environ.get(name, "").strip()
            if text:
                given[one.name] = _read(name, one.metadata["kind"], text)
        return cls(**given)

    @classmethod
    def describe(cls) -> list[tuple[str, str, str, str]]:
        """Variable, type, default and sentence of each setting, for the docs."""
        return [
            (
                _variable(one),
                one.metadata["kind"].name,
                one.metadata["shown"],
                one.metadata["sentence"],
            )
            for one in fields(cls)
        ]

    @property
    def high_water_path(self) -> Path | None:
        """The high-water file, if there is one."""
        if self.high_water_file is None and self.redis_url is None:
            return self.data_dir / "high-water.json"
        return self.high_water_file

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def refuse_open(self) -> None:
        """Raises `ConfigurationError` where anyone on the network could read and write everything."""
        if self.auth == "off" and not self.is_loopback and not self.allow_open:
            raise ConfigurationError(
                f"{PREFIX}HOST={self.host} would let anyone on the network in ({PREFIX}AUTH=off); "
                f"it takes a loopback address, or {PREFIX}ALLOW_OPEN=true if something else guards the broker"
            )


def _variable(one: "Field[Any]") -> str:
    return PREFIX + one.name.upper()


def _read(name: str, kind: Kind, text: str) -> object:
    try:
        return kind.read(text)
    except ValueError:
        # a password may stand in a URL
        shown = re.sub(r"//[^/]*@", "//***@", text)
        raise ConfigurationError(f"{name}={shown!r}: it takes {kind.takes}") from None


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
