"""Builds what slows the intake down when workers fall behind, the throttle and the reporter of the lags, and
what reports the activity of the process.
"""

import os
import socket
from collections.abc import Callable, Mapping

from broker.app.parts import Parts
from broker.app.roles import Role
from broker.ingest.throttle import Throttle
from broker.services.health import Health
from broker.store.activity import Activity
from broker.store.lag_board import LagBoard
from broker.workers.activity_recorder import ActivityRecorder
from broker.workers.lag_reporter import LagReporter


def build_throttle(parts: Parts, roles: frozenset[Role]) -> Throttle:
    """For the group commit. The lags of this process are read directly, those of others from the store."""
    lags = list(_worker_lags(parts, roles).values())
    return Throttle(parts.target_lag, parts.settings.max_delay, lags, LagBoard(parts.store))


def build_lag_reporter(parts: Parts, roles: frozenset[Role]) -> LagReporter:
    return LagReporter(_worker_lags(parts, roles), LagBoard(parts.store), parts.target_lag, parts.stop)


def build_activity_recorder(parts: Parts, roles: frozenset[Role], health: Health) -> ActivityRecorder:
    lags = _worker_lags(parts, roles)
    return ActivityRecorder(Activity(parts.store), health, lags, process_name(), sorted(roles), parts.stop)


def process_name() -> str:
    """By which operators tell this process from others of the same store."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _worker_lags(parts: Parts, roles: frozenset[Role]) -> Mapping[str, Callable[[], float]]:
    lags: dict[str, Callable[[], float]] = {}
    if Role.MATCH in roles:
        lags["matcher"] = parts.matcher_lag.seconds
    if Role.DISPATCH in roles:
        lags["dispatcher"] = parts.dispatcher_lag.seconds
    return lags
