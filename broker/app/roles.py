"""The roles a process can have."""

from enum import StrEnum


class Role(StrEnum):
    """What a process does. `api` accepts changes, `match` numbers events, `dispatch` sends notifications."""

    API = "api"
    MATCH = "match"
    DISPATCH = "dispatch"


ALL_ROLES = frozenset(Role)
