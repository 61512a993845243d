"""The key ring seals secrets, bound to their place, and opens what any of its keys has sealed."""

import json
import stat
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.security.key_ring import KeyMissing, KeyRing, Place, RingFile, RingKey, SealBroken, key_id_of

PLACE = Place("default", "Subscription/ward-3", "header values")
CREATED = "2026-01-01T00:00:00.000Z"


def ring_at(path: Path, *keys: RingKey, active: RingKey | None = None) -> KeyRing:
    """The ring of a file with these keys; the last one is active unless another is named."""
    RingFile((active or keys[-1]).id, keys).write(path)
    return KeyRing(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key-ring.json"


def key() -> RingKey:
    return RingKey.generate(CREATED)


def test_a_value_opens_at_its_place_and_its_sealed_form_does_not_contain_it(path: Path) -> None:
    ring = ring_at(path, key())
    sealed = ring.seal(b"Bearer hunter2", PLACE)
    assert ring.open(sealed, PLACE) == b"Bearer hunter2"
    assert b"hunter2" not in sealed
    assert ring.seal(b"Bearer hunter2", PLACE) != sealed, "equal secrets must not be recognizable"
    assert key_id_of(sealed) == ring.active_id


@pytest.mark.parametrize(
    "other",
    [
        PLACE._replace(tenant="other"),
        PLACE._replace(owner="Subscription/ward-4"),
        PLACE._replace(purpose="signing secrets"),
        Place("defaultS", "ubscription/ward-3", "header values"),
    ],
)
def test_a_value_opens_at_no_other_place(path: Path, other: Place) -> None:
    ring = ring_at(path, key())
    with pytest.raises(SealBroken):
        ring.open(ring.seal(b"x", PLACE), other)


def test_an_altered_value_does_not_open(path: Path) -> None:
    ring = ring_at(path, key())
    sealed = ring.seal(b"secret", PLACE)
    for position in range(9, len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(SealBroken):
            ring.open(bytes(altered), PLACE)
    for text in (b"", b"\x01", b"plain text that is long enough", sealed[:12]):
        with pytest.raises(SealBroken):
            ring.open(text, PLACE)


def test_after_a_rotation_a_running_process_seals_by_the_new_key_and_opens_by_both(path: Path) -> None:
    old, new = key(), key()
    ring = ring_at(path, old)
    before = ring.seal(b"before", PLACE)
    RingFile(new.id, (old, new)).write(path)
    after = ring.seal(b"after", PLACE)
    assert (key_id_of(before), key_id_of(after)) == (old.id, new.id)
    assert ring.open(before, PLACE) == b"before"
    assert ring.open(after, PLACE) == b"after"


def test_a_key_that_another_process_uses_first_is_read_when_it_is_needed(path: Path) -> None:
    old, new = key(), key()
    ring = ring_at(path, old)
    sealed = ring_at(path.with_name("other.json"), new).seal(b"x", PLACE)
    with pytest.raises(KeyMissing, match=new.id):
        ring.open(sealed, PLACE)
    RingFile(old.id, (old, new)).write(path)
    assert ring.open(sealed, PLACE) == b"x"


def test_a_file_that_is_broken_meanwhile_leaves_the_keys_as_they_are(path: Path) -> None:
    ring = ring_at(path, key())
    path.write_text("{")
    assert ring.open(ring.seal(b"x", PLACE), PLACE) == b"x"
    path.unlink()
    assert ring.open(ring.seal(b"x", PLACE), PLACE) == b"x"


def test_the_file_is_readable_by_its_owner_only_and_is_not_replaced_by_a_first_start(path: Path) -> None:
    first = RingFile.read(ring_at(path, key()).path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        RingFile("0" * 16, (key(),)).write(path, is_new=True)
    assert RingFile.read(path) == first
    assert [each.name for each in path.parent.iterdir()] == [path.name], "no draft is left"


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("active"),
        lambda document: document.update(active="0" * 16),
        lambda document: document.update(keys=[]),
        lambda document: document.update(keys={}),
        lambda document: document["keys"].append(document["keys"][0]),
        lambda document: document["keys"][0].update(key="c2hvcnQ="),
        lambda document: document["keys"][0].update(key="not base64"),
        lambda document: document["keys"][0].update(id="xyz"),
    ],
)
def test_a_file_that_is_no_key_ring_is_refused_without_quoting_it(path: Path, change: object) -> None:
    assert callable(change)
    ring_at(path, key())
    document = json.loads(path.read_text())
    text = document["keys"][0]["key"]
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="is not a key ring") as refusal:
        KeyRing(path)
    assert text not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_key_does_not_show_its_secret() -> None:
    secret = RingKey("00" * 8, CREATED, b"visible?" * 4)
    assert "visible" not in repr(secret)
    assert "visible" not in repr(RingFile(secret.id, (secret,)))
