"""The settings that limit what one client may ask for. docs/security.md says what each protects."""

from dataclasses import dataclass

from broker.settings.environment import setting
from broker.settings.kinds import BOOL, BYTES, number


@dataclass(frozen=True)
class LimitSettings:
    """Part of `Settings`. The limits per client and the rate of handshakes hold for each process."""

    max_body: int = setting(5 * 1024**2, BYTES, "5MiB", "The largest request body that is accepted.")
    max_entries: int = setting(
        1_000,
        number(1, 10_000),
        "1000",
        "The largest number of entries of a batch or transaction. More get 413.",
    )
    max_subscriptions: int = setting(
        10_000,
        number(0, 10_000_000),
        "10000",
        "How many Subscriptions a client may have. 0: no limit.",
    )
    max_tenant_subscriptions: int = setting(
        100_000,
        number(0, 100_000_000),
        "100000",
        "How many Subscriptions all clients of a tenant may have together. 0: no limit.",
    )
    request_rate: int = setting(
        1_000,
        number(0, 1_000_000),
        "1000",
        "How many requests a client may send in a second, to each process; twice as many at once after a"
        " pause. More get 429 with Retry-After. 0: no limit.",
    )
    max_connections: int = setting(
        100,
        number(0, 100_000),
        "100",
        "How many websockets and event streams a client may have open, in each process. 0: no limit.",
    )
    handshakes_per_host: int = setting(
        600,
        number(0, 1_000_000),
        "600",
        "How many handshakes a process sends to one host at once, and then in a minute. Further subscriptions"
        " wait with the status requested. 0: no limit.",
    )
    limit_open: bool = setting(
        False,
        BOOL,
        "false",
        "Whether the limits per client hold with BROKER_AUTH=off too, where all requests are of one client.",
    )
