"""Trains the compression dictionary of `broker/store/compression.py` from resources that this project wrote.

    python scripts/train_dictionary.py broker/store/dictionaries/fhir-1.zdict

A dictionary never changes once it has shipped: stored resources name it. A better one gets the next number.
"""

import json
import random
import sys
from collections.abc import Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import zstandard

from broker.model.resource import Resource
from broker.testing.readings import readings

SCRIPTS = Path(__file__).resolve().parent
EXAMPLES = SCRIPTS.parent / "tests" / "fhir" / "examples"
SKELETONS = SCRIPTS / "dictionary_samples.json"
"""Resources of more types, with the codes and members that such resources usually have."""
SIZE = 24_576
COPIES = 60


def _varied(value: Any, random_: random.Random) -> Any:
    """The value with other ids, digits and times, so that the dictionary learns what resources share."""
    if isinstance(value, dict):
        return {name: _varied(member, random_) for name, member in value.items()}
    if isinstance(value, list):
        return [_varied(item, random_) for item in value]
    if isinstance(value, str) and any(letter.isdigit() for letter in value) and "://" not in value:
        return "".join(random_.choice("0123456789") if letter.isdigit() else letter for letter in value)
    return value


def samples() -> list[bytes | bytearray | memoryview[int]]:
    random_ = random.Random(1)
    found: list[bytes | bytearray | memoryview[int]] = []
    for path in sorted(EXAMPLES.rglob("*.json")):
        resource = json.loads(path.read_bytes())
        for n in range(COPIES):
            text = json.dumps(
                _varied(resource, random_) if n else resource, separators=(",", ":"), ensure_ascii=False
            )
            found.append(_stored(text.encode()))
    times = (
        f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n % 60:02}:{n * 7 % 60:02}Z" for n in count()
    )
    patients = tuple(str(random_.randint(1, 99_999)) for _ in range(100))
    resources: list[Mapping[str, Any]] = [
        reading.resource for reading in islice(readings(patients, 1, times), 6 * COPIES)
    ]
    for skeleton in json.loads(SKELETONS.read_bytes()):
        resources += [_varied(skeleton, random_) for _ in range(COPIES)]
    found += [_stored(json.dumps(resource, separators=(",", ":")).encode()) for resource in resources]
    return found


def _stored(text: bytes) -> bytes:
    resource = Resource(text)
    return resource.without_version(type=resource.type, id="1").tail


if __name__ == "__main__":
    dictionary = zstandard.train_dictionary(SIZE, samples())
    Path(sys.argv[1]).write_bytes(dictionary.as_bytes())
