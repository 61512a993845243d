"""Fuzzes one target in a process of its own: `python -m tests.fuzz.process NAME SECONDS SEED FOLDER`.

`python -m tests.fuzz` starts it. SECONDS are counted from the start of the process, and inputs with findings
go to FOLDER. libFuzzer ends the process: 0 after its time, another code at a finding.
"""

import sys
import tempfile
import time
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional, and has no types

from tests.fuzz.target import Target, load

HANG_S = 20
"""Wall-clock time after which libFuzzer ends an input that does not return."""
_STARTED = time.monotonic()


def main(name: str, seconds: float, seed: str, folder: str) -> None:
    """Does not return."""
    with atheris.instrument_imports(include=["broker"]):
        target = load(name)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as scratch:
        corpus, words = _write_files(target, Path(scratch))
        for data in target.inputs():  # fills caches and imports classes before the time of inputs counts
            target.check(data)
        remaining = seconds - (time.monotonic() - _STARTED)
        arguments = [
            f"-max_total_time={max(1, round(remaining))}",
            f"-timeout={HANG_S}",
            f"-seed={seed}",
            f"-max_len={target.max_bytes}",
            f"-dict={words}",
            f"-artifact_prefix={folder}/{name}-",
            "-rss_limit_mb=3000",
        ]
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], target.examine)
        atheris.Fuzz()


def _write_files(target: Target, scratch: Path) -> tuple[Path, Path]:
    """The corpus folder and the dictionary as libFuzzer reads them."""
    corpus, words = scratch / "corpus", scratch / "words"
    corpus.mkdir()
    for n, data in enumerate(target.inputs()):
        (corpus / f"seed-{n:03}").write_bytes(data)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words.split()))
    return corpus, words


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4])
