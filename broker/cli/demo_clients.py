"""The clients of a demo: a key for each, its registration in a folder of the broker, and its tokens."""

import json
from collections.abc import Mapping
from pathlib import Path

from broker.client import BackendServices
from broker.security.private_keys import PrivateKey

GATEWAY = "gateway"
GATEWAY_SCOPE = "system/*.cu"
SUBSCRIBER_SCOPE = (
    "system/Subscription.cru system/Observation.r system/Patient.r system/Device.r system/DeviceMetric.r"
)
"""With full-resource, the topics of the demo include the patient and the device of a reading."""


TOUR = "tour"
_TOUR_SCOPE = f"{SUBSCRIBER_SCOPE} system/Subscription.d system/SubscriptionTopic.rs"


class DemoClients:
    """Those of the gateway, the subscribers and the guided tour, registered before the broker starts. The
    private keys stay in this process.
    """

    def __init__(self, folder: Path, subscribers: list[str]) -> None:
        scopes = {GATEWAY: GATEWAY_SCOPE, **dict.fromkeys(subscribers, SUBSCRIBER_SCOPE), TOUR: _TOUR_SCOPE}
        self._scopes: Mapping[str, str] = scopes
        self._keys = {name: PrivateKey.generate() for name in scopes}
        folder.mkdir()
        for name, scope in scopes.items():
            jwks = {"keys": [dict(self._keys[name].public_jwk)]}
            registration = {"client_id": name, "scope": scope, "jwks": jwks}
            (folder / f"{name}.json").write_text(json.dumps(registration))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def auth(self, name: str, fhir_base: str) -> BackendServices:
        """How the client authenticates at a base."""
        return BackendServices(fhir_base, name, self._keys[name], self._scopes[name])
