"""`python -m tests.validation`: has HL7's validator judge every kind of document the broker says, in all
releases.

Exit code 0: no error, and no warning but the accepted ones. 1: findings. 77: a tool is missing, and nothing
was judged.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console

from tests.validation.documents import collect
from tests.validation.judge import judge, missing_tools, read_accepted, unaccepted

DEFINITIONS = Path(__file__).resolve().parents[3] / "shared" / "spec" / "data"
SKIPPED = 77


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument(
        "--definitions",
        type=Path,
        default=DEFINITIONS,
        help="folder with backport-r4 and backport-r4b: the profiles of the Subscriptions R5 Backport",
    )
    parser.add_argument("--keep", type=Path, help="keep the documents in this folder")
    parser.add_argument("--all", action="store_true", help="print the accepted findings too")
    return parser


def main() -> int:
    console = Console(soft_wrap=True, markup=False, highlight=False)
    options = _parser().parse_args()
    missing = missing_tools()
    if missing:
        console.print(
            f"skipped: {' and '.join(missing)} not found; install a Java runtime (17 or newer) and Maven"
        )
        return SKIPPED
    definitions = {
        release: options.definitions / f"backport-{release}"
        for release in ("r4", "r4b")
        if (options.definitions / f"backport-{release}").is_dir()
    }
    if not definitions:
        console.print(
            f"no backport profiles in {options.definitions}: judged against the core specification only"
        )
    with tempfile.TemporaryDirectory(prefix="documents-") as scratch:
        folder = options.keep or Path(scratch)
        asyncio.run(collect(folder))
        judged, findings = judge(folder, definitions)
    accepted = read_accepted()
    bad = unaccepted(findings, accepted)
    for finding in findings if options.all else bad:
        console.print(f"{finding.severity}  {finding.file}  {finding.location}\n    {finding.message}")
    counts = Counter(finding.severity for finding in findings)
    console.print(
        f"{judged} documents judged: {counts['error'] + counts['fatal']} errors, "
        f"{counts['warning']} warnings, {len(bad)} of them not accepted"
    )
    unused = [row for row in accepted if not any(row.covers(finding) for finding in findings)]
    for row in unused:
        console.print(f"accepted.tsv: nothing matches any more: {row.pattern.pattern}")
    return 1 if bad or not judged else 0


if __name__ == "__main__":
    sys.exit(main())
