"""`python -m tests.fuzz [TARGET...]`: runs the fuzz targets with atheris, two at a time, for some seconds.

Exit code 0: no finding. 1: findings; the inputs are kept in `fuzz-failed/`. 77: atheris is not installed, and
nothing was fuzzed. A finding becomes a seed of its target, and so a case of `test_targets.py`.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.fuzz.target import names

SKIPPED = 77
FAILED = Path("fuzz-failed")
_SHOWN_LINES = 25
_CONSOLE = Console(soft_wrap=True, markup=False, highlight=False)


@dataclass(frozen=True, slots=True)
class Run:
    """How the process of one target ended."""

    name: str
    returncode: int
    output: str

    @property
    def inputs(self) -> str:
        """How many inputs were checked, as libFuzzer reports it."""
        done = re.findall(r"^Done (\d+)", self.output, re.MULTILINE)
        return done[-1] if done else "an unknown number of"


def fuzz(name: str, seconds: float, seed: int) -> Run:
    """Runs one target for `seconds`, its start included, from its seeds."""
    command = [sys.executable, "-m", "tests.fuzz.process", name, str(seconds), str(seed), str(FAILED)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return Run(name, ended.returncode, ended.stdout + ended.stderr)


def _report(runs: Sequence[Run]) -> int:
    for run in runs:
        if run.returncode == 0:
            _CONSOLE.print(f"{run.name}: {run.inputs} inputs, no finding")
            continue
        _CONSOLE.print(f"{run.name}: FINDING (exit code {run.returncode})")
        _CONSOLE.print("\n".join(run.output.splitlines()[-_SHOWN_LINES:]))
    findings = [run.name for run in runs if run.returncode]
    if findings:
        _CONSOLE.print(
            f"findings in {', '.join(findings)}; add each input in {FAILED}/ as a seed of its target"
        )
    elif not any(FAILED.iterdir()):
        FAILED.rmdir()
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all targets without one")
    parser.add_argument("--seconds", type=int, default=60, help="wall-clock time in all (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: 1; 0: a random one)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="targets at a time")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    return parser


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        _CONSOLE.print("\n".join(names()))
        return 0
    unknown = set(options.targets) - set(names())
    if unknown:
        _CONSOLE.print(f"unknown targets: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
        return 2
    if importlib.util.find_spec("atheris") is None:
        _CONSOLE.print("skipped: atheris is not installed. Run `make fuzz`, which installs it.")
        return SKIPPED
    FAILED.mkdir(exist_ok=True)
    targets = options.targets or names()
    seconds = options.seconds * options.jobs / len(targets)
    with ThreadPoolExecutor(options.jobs) as pool:
        return _report(list(pool.map(partial(fuzz, seconds=seconds, seed=options.seed), targets)))


if __name__ == "__main__":
    sys.exit(main())
