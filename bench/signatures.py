"""What secrets cost: signing a notification, sealing and opening a value or a resource. Processor time of
this process, the lowest of several rounds, so a loaded machine changes little.
"""

import functools
import hmac
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from bench.figures import Figure
from bench.processor_time import lowest_us
from broker.app.secrets import new_ring
from broker.egress.requests import header_lines
from broker.model.change import DEFAULT_TENANT
from broker.model.uuids import uuid_of_names
from broker.security.key_ring import KeyRing, Place
from broker.security.resource_cipher import ResourceCipher
from broker.security.subscription_secrets import SigningSecret
from broker.security.webhook_signatures import signer_of
from broker.store.bodies import Bodies
from broker.testing.readings import HEART_RATE, observation

_BODY = b'{"resourceType":"Bundle","type":"subscription-notification"}'.ljust(1_500)
_NOW_MS = 1_767_225_600_000
_ID = uuid_of_names("bench")
_PLACE = Place("default", f"Subscription/{_ID}", "header values")
_READING = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 71)
_MAX_RATIO = 6.0
"""Of a signature with its header lines to the bare HMAC: formatting must not become the larger part again."""


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Of a notification of 1.5 KB, and of a header value of 40 bytes."""
    repeats = 500 if is_quick else 5_000
    first, second = (SigningSecret(secrets.token_bytes(32), 0) for _ in range(2))

    def signed(*signing: SigningSecret) -> Callable[[], object]:
        return lambda: header_lines(signer_of(signing, _NOW_MS).headers(_ID, _BODY))

    bare = lowest_us(lambda: hmac.digest(first.secret, _BODY, "sha256"), repeats)
    one = lowest_us(signed(first), repeats)
    yield Figure("signatures", "bare HMAC-SHA256", bare, "µs")
    yield Figure("signatures", "headers, one secret", one, "µs")
    yield Figure("signatures", "headers, two secrets", lowest_us(signed(first, second), repeats), "µs")
    yield Figure("signatures", "headers, no secret", lowest_us(signed(), repeats), "µs")
    yield Figure("signatures", "one secret / bare", round(one / bare, 2), "", at_most=_MAX_RATIO)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key-ring.json"
        new_ring().write(path)
        ring = KeyRing(path)
        value = secrets.token_bytes(40)
        sealed = ring.seal(value, _PLACE)
        yield Figure("signatures", "seal a value", lowest_us(lambda: ring.seal(value, _PLACE), repeats), "µs")
        yield Figure(
            "signatures", "open a value", lowest_us(lambda: ring.open(sealed, _PLACE), repeats), "µs"
        )
        for figure in _resource_figures(ring, repeats):
            yield figure


def _resource_figures(ring: KeyRing, repeats: int) -> Iterator[Figure]:
    """Of a heart rate of about 700 bytes, as each write packs it and each read unpacks it."""
    bodies, text = Bodies(ResourceCipher(ring)), json.dumps(_READING).encode()
    place = DEFAULT_TENANT, f"Observation/{_ID}"
    for name, key_id in (("compressed", ""), ("compressed and sealed", ring.active_id)):
        stored = bodies.pack(text, *place, key_id)
        pack = lowest_us(functools.partial(bodies.pack, text, *place, key_id), repeats)
        unpack = lowest_us(functools.partial(bodies.unpack, stored, *place), repeats)
        yield Figure("signatures", f"pack a reading, {name}", pack, "µs")
        yield Figure("signatures", f"unpack a reading, {name}", unpack, "µs")
        yield Figure("signatures", f"a reading, {name}", len(stored), "bytes")
