"""The composition roots: the only package that builds everything.

A process runs one or more roles, and each role may run in many processes. `root.py` starts and stops a
process; the other modules build the parts of one role each (`api.py`, `matcher.py`, `dispatcher.py`,
`housekeeping.py`) or what several roles share (`parts.py`, `topics.py`, `stores.py`, `listening.py`). The
commands and the tests call `running`.
"""

from broker.app.api import prepare_requests
from broker.app.channels import allowed_networks
from broker.app.listening import bind, with_bound_port
from broker.app.roles import ALL_ROLES, Role
from broker.app.root import Running, check, running
from broker.app.stores import beside_broker, claimed_server, migrate_store, reachable_store, store_url

__all__ = [
    "ALL_ROLES",
    "Role",
    "Running",
    "allowed_networks",
    "beside_broker",
    "bind",
    "check",
    "claimed_server",
    "migrate_store",
    "prepare_requests",
    "reachable_store",
    "running",
    "store_url",
    "with_bound_port",
]
