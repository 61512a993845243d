"""How far the store had come, so that one that comes back with less is found out before it gives a number out twice.

A matcher knows of its partitions how many events were numbered from them in each shard, and the last change it read. Both only grow.
A store that holds less than that was restored from a backup, lost the end of its append-only file, or failed over to a replica
that was behind. Then every shard passes over the numbers it may have given out (`lua/jump.lua`), every subscription is told, and
what was forgotten comes again under new numbers as far as it is still in the log.

What a matcher knows is noted in a file, where there is one, for the case that all processes end together with the store.
"""

import asyncio
import fcntl
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog

from broker.model.change import Change
from broker.store import keys
from broker.store.protocol import Argument, Command, ScriptCall, Store, WriteConcern
from broker.store.stream_id import StreamId
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
MARGIN = 1_000
"""Numbers passed over besides those that are known to be given out: answers that were lost, matchers that are gone."""
MARGIN_AFTER_END = 1_000_000
"""The same where only the file remembers: it is up to some seconds behind."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What the store has of what is known: too little where it says so."""

    shards: frozenset[int]
    heads: Mapping[int, str]


class RollbackDetector:
    """One a process. `verify` is called before anything is numbered whenever the store may be another than before."""

    def __init__(self, store: Store, file: Path | None = None) -> None:
        self._store = store
        self._file = file
        self._numbered: dict[tuple[int, int], int] = {}
        self._heads: dict[int, str] = {}
        self._is_noted = True
        self._margin = MARGIN
        if file is not None:
            self._recall(file)

    def numbered(self, shard: int, partition: int) -> int:
        """How many events of the partition the shard is known to have numbered."""
        return self._numbered.get((shard, partition), 0)

    def saw_numbered(self, shard: int, partition: int, number: int) -> None:
        self._numbered[shard, partition] = number
        self._is_noted = False

    def saw_read(self, changes: Iterable[Change]) -> None:
        """The newest changes of their partitions, in order."""
        for change in changes:
            self._heads[change.partition] = change.id
            self._is_noted = False

    async def verify(self) -> bool:
        """Whether the store went back; then all of its shards have jumped. Raises `StoreUnavailable`: call again."""
        held = await self._held()
        behind = {p: head for p, head in self._heads.items() if _is_before(held.heads.get(p), head)}
        if not held.shards and not behind:
            self._margin = MARGIN
            return False
        jump = uuid.uuid4().hex
        calls = [self._jump(shard, jump) for shard in range(self._store.layout.shards)]
        answers = await self._store.run_many(calls, WriteConcern.DURABLE)
        metrics.store_rollbacks.inc()
        _log.error(
            "the store went back in time: changes accepted since may be lost, event numbers jump",
            last_change_known=max(behind.values(), default=None, key=StreamId.parse),
            partitions_behind=len(behind),
            shards_behind=len(held.shards),
            events_forgotten=sum(max(0, forgotten) for forgotten, _ in answers),
            subscriptions=sum(jumped for _, jumped in answers),
        )
        self._heads.update({p: held.heads[p] for p in behind})
        self._margin = MARGIN
        return True

    async def _held(self) -> _Held:
        partitions = {shard: [p for s, p in self._numbered if s == shard] for shard, _ in self._numbered}
        commands: list[Command] = [
            ("HMGET", keys.fence(shard), *(f"n{p}" for p in some)) for shard, some in partitions.items()
        ]
        commands += [("XREVRANGE", keys.changes(p), "+", "-", "COUNT", 1) for p in self._heads]
        answers: list[Any] = await self._store.send(commands)
        shards = frozenset(
            shard
            for (shard, some), numbers in zip(partitions.items(), answers, strict=False)
            if any(
                int(number or 0) < self._numbered[shard, p] for p, number in zip(some, numbers, strict=True)
            )
        )
        newest: dict[int, list[Any]] = dict(zip(self._heads, answers[len(partitions) :], strict=True))
        heads = {p: cast("bytes", entries[0][0]).decode() for p, entries in newest.items() if entries}
        return _Held(shards, heads)

    def _jump(self, shard: int, jump: str) -> ScriptCall:
        arguments: list[Argument] = [f"{keys.shard_tag(shard)}:sub:", jump, self._margin]
        for (known_shard, partition), number in self._numbered.items():
            if known_shard == shard:
                arguments += [partition, number]
        return ScriptCall("skip_numbers", [keys.members(shard), keys.fence(shard)], arguments)

    async def note(self) -> None:
        """Writes to the file what is new; without a file it does nothing. What can't be written is logged."""
        if self._file is None or self._is_noted:
            return
        self._is_noted = True
        try:
            await asyncio.to_thread(_merge, self._file, dict(self._numbered), dict(self._heads))
        except OSError as error:
            _log.warning("rollback_detector file not written", file=str(self._file), error=str(error))

    def _recall(self, file: Path) -> None:
        self._numbered, self._heads = _read(file)
        if self._numbered or self._heads:
            self._margin = MARGIN_AFTER_END


def _is_before(held: str | None, known: str) -> bool:
    """Whether a log ends before what was read of it; one that is empty was trimmed, and says nothing."""
    return held is not None and StreamId.parse(held) < StreamId.parse(known)


_Numbered = dict[tuple[int, int], int]


def _read(file: Path) -> tuple[_Numbered, dict[int, str]]:
    """What the file says; nothing if there is none, or it can't be read: it is written anew."""
    try:
        document = json.loads(file.read_bytes())
        numbered = {(int(s), int(p)): int(n) for s, p, n in document["numbered"]}
        heads = {int(p): str(head) for p, head in document["heads"].items()}
        for head in heads.values():
            StreamId.parse(head)  # raises ValueError for what is no entry id
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("rollback_detector file not read", file=str(file), error=str(error))
        return {}, {}
    return numbered, heads


def _merge(file: Path, numbered: _Numbered, heads: dict[int, str]) -> None:
    """Adds to what other matchers on this machine wrote; both only grow."""
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others, other_heads = _read(file)
        numbered |= {key: max(number, numbered.get(key, 0)) for key, number in others.items()}
        for p, head in other_heads.items():
            heads[p] = max(head, heads.get(p, head), key=StreamId.parse)
        written = file.with_suffix(".new")
        document = {"numbered": [[s, p, n] for (s, p), n in numbered.items()], "heads": heads}
        written.write_text(json.dumps(document))
        written.replace(file)
