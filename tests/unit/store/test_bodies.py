"""How texts of resources are stored: compressed, sealed or not, whatever the setting was when they came."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from broker.app.secrets import new_key, new_ring
from broker.errors import StoreUnavailable
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.resource_cipher import ResourceCipher
from broker.store.bodies import SEALED, UNSEALED, Bodies
from broker.store.compression import compress

TEXT = b'{"note":[{"text":"markerhealth"}]}' * 3
PLACE = (DEFAULT_TENANT, "Observation/a")


class RecordedKeys:
    def __init__(self) -> None:
        self.ids: list[str] = []

    async def record(self, key_id: str) -> None:
        self.ids.append(key_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ring.json"
    new_ring().write(path)
    return path


@pytest.fixture
def seals(path: Path) -> Callable[[RecordedKeys | None], Bodies]:
    return lambda keys: Bodies(ResourceCipher(KeyRing(path)), cast("Any", keys))


async def test_a_text_is_sealed_under_a_key_that_the_store_has_on_record(
    seals: Callable[[RecordedKeys | None], Bodies],
) -> None:
    keys = RecordedKeys()
    bodies = seals(keys)
    key_id = await bodies.sealing_key()
    stored = bodies.pack(TEXT, *PLACE, key_id)
    assert keys.ids == [key_id] == [key_id_of(stored)]
    assert stored.startswith(SEALED)
    assert len(stored) < len(compress(TEXT)) + 40, "it is compressed first"
    assert bodies.unpack(stored, *PLACE) == TEXT


async def test_sealed_and_unsealed_texts_are_read_whatever_the_setting_is(
    seals: Callable[[RecordedKeys | None], Bodies],
) -> None:
    on, off = seals(RecordedKeys()), seals(None)
    assert await off.sealing_key() == ""
    unsealed = off.pack(TEXT, *PLACE, "")
    sealed = on.pack(TEXT, *PLACE, await on.sealing_key())
    assert unsealed == compress(TEXT)
    assert [each.unpack(text, *PLACE) for each in (on, off) for text in (sealed, unsealed)] == [TEXT] * 4


async def test_a_text_of_an_older_key_is_read_while_the_ring_has_that_key(path: Path) -> None:
    bodies = Bodies(ResourceCipher(KeyRing(path)), cast("Any", RecordedKeys()))
    old = bodies.pack(TEXT, *PLACE, await bodies.sealing_key())
    content = RingFile.read(path)
    newer = new_key()
    RingFile(newer.id, (*content.keys, newer)).write(path)
    assert await bodies.sealing_key() == newer.id
    assert bodies.unpack(old, *PLACE) == TEXT
    RingFile(newer.id, (newer,)).write(path)
    with pytest.raises(StoreUnavailable, match="no key"):  # to be tried again, not given up
        Bodies(ResourceCipher(KeyRing(path))).unpack(old, *PLACE)
    with pytest.raises(StoreUnavailable, match="no key ring"):
        UNSEALED.unpack(old, *PLACE)


@pytest.mark.parametrize(
    "place",
    [(Tenant("other"), "Observation/a"), (DEFAULT_TENANT, "Observation/b"), (DEFAULT_TENANT, "Patient/a")],
)
async def test_a_text_opens_only_in_its_place(
    seals: Callable[[RecordedKeys | None], Bodies], place: tuple[Tenant, str]
) -> None:
    bodies = seals(RecordedKeys())
    stored = bodies.pack(TEXT, *PLACE, await bodies.sealing_key())
    with pytest.raises(ValueError, match="altered"):
        bodies.unpack(stored, *place)
    with pytest.raises(ValueError, match="altered"):
        bodies.unpack(stored[:-1] + bytes([stored[-1] ^ 1]), *PLACE)


def test_no_compressed_text_looks_like_a_sealed_one() -> None:
    assert not any(compress(text).startswith(SEALED) for text in (b"", b"\x01", TEXT, SEALED * 100))
