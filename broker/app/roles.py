"""The roles a process can have."""

from enum import StrEnum


class Role(StrEnum):
    """What a process does. `api` accepts changes, `match` numbers events, `dispatch` sends notifications,
    `mqtt` takes readings from an MQTT server.
    """

    API = "api"
    MATCH = "match"
    DISPATCH = "dispatch"
    MQTT = "mqtt"


ALL_ROLES = frozenset({Role.API, Role.MATCH, Role.DISPATCH})
"""Those of `fhir-broker serve`."""
