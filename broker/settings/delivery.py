"""The settings of delivery: retries, handshakes, timeouts and sizes. They are fields of `Settings`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BYTES, DURATION, choice


@dataclass(frozen=True)
class DeliverySettings:
    """How notifications reach endpoints. The dispatcher reads them."""

    retry_base: timedelta = setting(
        timedelta(seconds=1),
        DURATION,
        "1s",
        "The delay after the first failed attempt; each further one doubles it.",
        agreement=Agreement.EXPECTED,
    )
    retry_max: timedelta = setting(
        timedelta(hours=1),
        DURATION,
        "1h",
        "The longest delay between two attempts, whatever a Retry-After header asks for.",
        agreement=Agreement.EXPECTED,
    )
    retry_budget: timedelta = setting(
        timedelta(hours=72),
        DURATION,
        "72h",
        "How long after its first failure a notification is retried.",
        agreement=Agreement.EXPECTED,
    )
    handshake_grace: timedelta = setting(
        timedelta(seconds=30),
        DURATION,
        "30s",
        "How long a handshake is retried that reaches nobody (no connection, no answer, 502, 503, 504), "
        "before the subscription goes to error. 0s: one attempt.",
        agreement=Agreement.EXPECTED,
    )
    resume: Literal["backlog", "newest"] = setting(
        "backlog",
        choice("backlog", "newest"),
        "backlog",
        "What a reactivated subscription receives first. backlog: the events it missed. newest: only "
        "new events.",
        agreement=Agreement.REQUIRED,
    )
    max_timeout: timedelta = setting(
        timedelta(seconds=60),
        DURATION,
        "60s",
        "The longest time an endpoint may take to respond, whatever its subscription asks for.",
    )
    max_notification: int = setting(
        4 * 1024**2,
        BYTES,
        "4MiB",
        "The largest size of all resources in one notification. A resource that exceeds it is sent alone.",
        agreement=Agreement.EXPECTED,
    )
