"""What a fuzz target is: code that takes text from outside, the law it keeps, and the seeds to mutate.

The law of every target: a check returns, or raises what the function under test documents (the check handles
that); any other exception is a finding, and so is an input that takes more than `LIMIT_S` of CPU time.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 1.0
"""CPU time of one input."""
FOLDER = Path(__file__).parent / "targets"


class TooSlow(AssertionError):  # noqa: N818 named for what is the case
    """The check of one input took longer than `LIMIT_S`."""


@dataclass(frozen=True, slots=True)
class Target:
    """One module of `targets/` defines one as `TARGET`.

    `seeds` are well-formed inputs, hostile inputs, and everything that fuzzing has found. `words` are
    pieces that mutations insert, with blanks between them. `max_bytes` bounds the inputs that are generated.
    """

    check: Callable[[bytes], None]
    seeds: Sequence[str | bytes]
    words: str = ""
    max_bytes: int = 2000

    def examine(self, data: bytes) -> None:
        """Checks one input and its time. Raises what the law forbids."""
        started = time.thread_time()
        self.check(data)
        spent = time.thread_time() - started
        if spent > LIMIT_S:
            raise TooSlow(f"one input took {spent:.1f} s of CPU time")

    def inputs(self) -> list[bytes]:
        """The seeds as bytes."""
        return [seed.encode() if isinstance(seed, str) else seed for seed in self.seeds]


def names() -> list[str]:
    """The names of all targets: the modules of `targets/`."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name: str) -> Target:
    """Imports the target, and with it the code under test."""
    target: Target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    return target


def text_of(data: bytes) -> str:
    """The input as text, without invalid bytes: what JSON and HTTP deliver holds no lone surrogates."""
    return data.decode("utf-8", "ignore")


def lines_of(data: bytes, count: int) -> list[str]:
    """The first `count` lines of the input; missing ones are empty, and the last holds the rest."""
    lines = text_of(data).split("\n", count - 1)
    return lines + [""] * (count - len(lines))
