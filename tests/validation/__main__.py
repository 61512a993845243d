"""`python -m tests.validation`: has HL7's validator judge every kind of document the broker says, in all
releases, and HAPI's generic client use the broker.

Exit code 0: no error, no warning but the accepted ones, and the client succeeded. 1: findings. 77: a tool is
missing, or no Maven repository answered; nothing was judged.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console

from tests.validation.base_rules import compare_tables
from tests.validation.documents import collect
from tests.validation.guides import compare_guide, read_guide
from tests.validation.hapi_client import run_hapi_client
from tests.validation.java_project import JavaFailed, NoAnswer, build, missing_tools
from tests.validation.judge import ACCEPTED_WITHOUT_PROFILES, judge, read_accepted, unaccepted
from tests.validation.profile_verdicts import compare_profiles

DEFINITIONS = Path(__file__).resolve().parents[3] / "shared" / "spec" / "data"
SKIPPED = 77
_CONSOLE = Console(soft_wrap=True, markup=False, highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument(
        "--definitions",
        type=Path,
        default=DEFINITIONS,
        help="folder with backport-r4 and backport-r4b: the profiles of the Subscriptions R5 Backport",
    )
    parser.add_argument("--keep", type=Path, help="keep the documents in this folder")
    parser.add_argument(
        "--record",
        action="store_true",
        help="record the verdicts about profiles for the default suite, and HL7's rules of types",
    )
    parser.add_argument("--only-profiles", action="store_true", help="judge the examples of profiles only")
    parser.add_argument("--all", action="store_true", help="print the accepted findings too")
    parser.add_argument(
        "--guide",
        type=Path,
        help="judge a guide only: a folder, such as an unpacked package, with its definitions, those that it "
        "depends on, and its examples as JSON files (R4)",
    )
    parser.add_argument(
        "--alterations", type=int, default=10, help="how many of each example of the guide; default: 10"
    )
    return parser


def main() -> int:
    options = _parser().parse_args()
    missing = missing_tools()
    if missing:
        _CONSOLE.print(f"skipped: {' and '.join(missing)} not found; install a JDK (17 or newer) and Maven")
        return SKIPPED
    try:
        build()
    except NoAnswer as reason:
        _CONSOLE.print(f"skipped: {reason}; what the validator needs could not be downloaded")
        return SKIPPED
    if options.guide:
        return _judge_guide(options)
    if options.only_profiles:
        return 0 if _judge_profiles(options) else 1
    is_clean = _judge_documents(options) & _judge_profiles(options)
    try:
        _CONSOLE.print(asyncio.run(run_hapi_client()).strip())
    except JavaFailed as error:
        _CONSOLE.print(f"HAPI's generic client failed: {error}")
        is_clean = False
    return 0 if is_clean else 1


def _judge_guide(options: argparse.Namespace) -> int:
    """0 if both judged all of the guide alike."""
    guide = read_guide(options.guide)
    with tempfile.TemporaryDirectory(prefix="guide-") as scratch:
        comparison = compare_guide(guide, Path(scratch), options.alterations)
    for line in comparison.lines():
        _CONSOLE.print(line)
    return 1 if comparison.differences or not comparison.counts else 0


def _judge_profiles(options: argparse.Namespace) -> bool:
    """Whether the broker's compiler of profiles and HL7's validator agree but for the known differences."""
    published = options.definitions / "profiles-r4"
    with tempfile.TemporaryDirectory(prefix="profiles-") as scratch:
        *disagreements, counts = compare_profiles(
            Path(scratch) / "profiles", published if published.is_dir() else None, record=options.record
        )
        differences = compare_tables(Path(scratch) / "definitions", record=options.record)
    for line in [*differences, *disagreements, counts]:
        _CONSOLE.print(line)
    return not (disagreements or differences)


def _judge_documents(options: argparse.Namespace) -> bool:
    """Whether there were documents, and the validator had no objection but the accepted ones."""
    definitions = {
        release: options.definitions / f"backport-{release}"
        for release in ("r4", "r4b")
        if (options.definitions / f"backport-{release}").is_dir()
    }
    if not definitions:
        _CONSOLE.print(
            f"no backport profiles in {options.definitions}: judged against the core specification only"
        )
    with tempfile.TemporaryDirectory(prefix="documents-") as scratch:
        folder = options.keep or Path(scratch)
        asyncio.run(collect(folder))
        judged, findings = judge(folder, definitions)
    accepted = read_accepted() + ([] if definitions else read_accepted(ACCEPTED_WITHOUT_PROFILES))
    bad = unaccepted(findings, accepted)
    for finding in findings if options.all else bad:
        _CONSOLE.print(f"{finding.severity}  {finding.file}  {finding.location}\n    {finding.message}")
    counts = Counter(finding.severity for finding in findings)
    _CONSOLE.print(
        f"{judged} documents judged: {counts['error'] + counts['fatal']} errors, "
        f"{counts['warning']} warnings, {len(bad)} findings that are not accepted"
    )
    unused = [row for row in accepted if not any(row.covers(finding) for finding in findings)]
    for row in unused:
        _CONSOLE.print(f"accepted.tsv: nothing matches any more: {row.pattern.pattern}")
    return bool(judged) and not bad


if __name__ == "__main__":
    sys.exit(main())
