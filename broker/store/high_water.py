"""High-water marks: what this process knows the store to have held. `RollbackDetector` compares the store
with them.

Marks only grow. A file keeps them for the case that all processes end together with the store; matchers on
one host share it.
"""

import fcntl
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from broker.store.stream_id import StreamId

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class HighWaterMarks:
    """The marks of shards and partitions."""

    numbered: dict[tuple[int, int], int] = field(default_factory=dict)
    """Shard and partition -> how many events of the partition the shard has numbered."""
    heads: dict[int, str] = field(default_factory=dict)
    """Partition -> entry id of the newest change that was read."""

    def __bool__(self) -> bool:
        return bool(self.numbered or self.heads)

    def copy(self) -> "HighWaterMarks":
        return HighWaterMarks(dict(self.numbered), dict(self.heads))

    @classmethod
    def load(cls, file: Path) -> Self:
        """The marks of the file; none if it is missing. An unreadable file is logged, and overwritten by the
        next `save`.
        """
        try:
            document = json.loads(file.read_bytes())
            numbered = {(int(s), int(p)): int(number) for s, p, number in document["numbered"]}
            heads = {int(p): str(StreamId.parse(head)) for p, head in document["heads"].items()}
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("high-water marks not read", file=str(file), error=str(error))
            return cls()
        return cls(numbered, heads)

    def save(self, file: Path) -> None:
        """Merges the marks with those that other matchers wrote to the file. Raises `OSError`."""
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            merged = HighWaterMarks.load(file)
            for key, number in self.numbered.items():
                merged.numbered[key] = max(number, merged.numbered.get(key, 0))
            for partition, head in self.heads.items():
                merged.heads[partition] = max(head, merged.heads.get(partition, head), key=StreamId.parse)
            document = {
                "numbered": [[s, p, number] for (s, p), number in merged.numbered.items()],
                "heads": merged.heads,
            }
            written = file.with_suffix(".new")
            written.write_text(json.dumps(document))
            written.replace(file)
