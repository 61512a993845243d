"""The settings of the flow of changes into the broker."""

from dataclasses import dataclass
from datetime import timedelta

from broker.settings.environment import setting
from broker.settings.kinds import DURATION


@dataclass(frozen=True)
class FlowSettings:
    """Part of `Settings`."""

    target_lag: timedelta = setting(
        timedelta(),
        DURATION,
        "0s",
        "How far the matcher and the dispatcher may be behind before answers to producers are slowed down. A"
        " subscriber that is slow or down does not count. 0s: never slow down; 50ms is a good start. Has no"
        " effect on a Cluster.",
    )
    max_delay: timedelta = setting(
        timedelta(seconds=10),
        DURATION,
        "10s",
        "The longest time that a change may have to wait because the broker is behind. Above it, producers"
        " get 503 with Retry-After. 0s: they wait as long as it takes.",
    )
