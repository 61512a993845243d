"""The text of each Lua script: the shared functions it needs, then the script itself.

The connection modules load every script of `NAMES` at start, and again when a server has lost its scripts.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from broker.store import keys


@dataclass(frozen=True, slots=True)
class _Script:
    """`shared` names the files of `lua/shared/` whose functions the script uses, in the order they depend on
    each other.

    `runs_when_full`: the script runs although the store has reached its `maxmemory`. Such a script adds next
    to nothing, and without it nothing is delivered or trimmed.
    """

    shared: tuple[str, ...] = ()
    runs_when_full: bool = False


_BASE = ("base",)
_SUBSCRIPTION = ("base", "subscription")
_WRITE = ("base", "preconditions")
_GAPS = ("base", "subscription", "gaps")
_ACCESS = ("base", "subscription", "gaps", "access")
_ATTEMPTS = ("base", "attempts")
_DEAD_LETTERS = ("base", "dead_letters")
_VERSIONS = ("base", "resource")
_MATCHING = ("base", "matching")
_SCRIPTS = MappingProxyType(
    {
        "acquire_leases": _Script(_BASE, runs_when_full=True),
        "advance_position": _Script(_MATCHING, runs_when_full=True),
        "advance_read_moment": _Script(_BASE, runs_when_full=True),
        "advance_reader": _Script(_BASE, runs_when_full=True),
        "announce_matcher": _Script(_BASE, runs_when_full=True),
        "append_attempts": _Script(_ATTEMPTS, runs_when_full=True),
        "append_audit": _Script(runs_when_full=True),
        "append_changes": _Script((*_WRITE, "resource")),
        "append_events": _Script(_GAPS),
        "chain_audit": _Script(runs_when_full=True),
        "claim": _Script((*_SUBSCRIPTION, "next_notification"), runs_when_full=True),
        "commit": _Script((*_ACCESS, "dead_letters", "attempts", "next_notification"), runs_when_full=True),
        "discard_entries": _Script(_BASE, runs_when_full=True),
        "discard_events": _Script((*_SUBSCRIPTION, "dead_letters"), runs_when_full=True),
        "erase_resource": _Script(_VERSIONS, runs_when_full=True),
        "expect_reader": _Script(_BASE, runs_when_full=True),
        "end_access": _Script(_GAPS, runs_when_full=True),
        "end_backoff": _Script(runs_when_full=True),
        "extend_claims": _Script(_BASE, runs_when_full=True),
        "fence_partition": _Script(),
        "index_resource": _Script(_VERSIONS),
        "join_processes": _Script(_BASE, runs_when_full=True),
        "mark_error": _Script(_SUBSCRIPTION, runs_when_full=True),
        "move_change_to_dead_letters": _Script(_MATCHING),
        "quarantine_readings": _Script(_BASE),
        "redriven_readings": _Script(_BASE, runs_when_full=True),
        "redrive_change": _Script(_VERSIONS),
        "redrive_events": _Script(_DEAD_LETTERS),
        "redrive_inbox_entry": _Script(_BASE),
        "refuse_inbox_entries": _Script(_BASE),
        "register_subscription": _Script((*_SUBSCRIPTION, "preconditions")),
        "release_leases": _Script(runs_when_full=True),
        "remove_versions": _Script(_VERSIONS, runs_when_full=True),
        "replace_dead_event": _Script(),
        "replace_resource": _Script(),
        "replace_sealed_text": _Script(),
        "replace_secrets": _Script(),
        "resend_events": _Script(),
        "schedule_handshake": _Script(runs_when_full=True),
        "search_page": _Script(_BASE),
        "skip_numbers": _Script(_GAPS, runs_when_full=True),
        "trim_attempts": _Script(_BASE, runs_when_full=True),
        "trim_audit": _Script(runs_when_full=True),
        "trim_dead_letters": _Script(_BASE, runs_when_full=True),
        "trim_outbox": _Script(_GAPS, runs_when_full=True),
        "void_claims": _Script(_BASE, runs_when_full=True),
        "void_leases": _Script(runs_when_full=True),
        "withhold_events": _Script(_ACCESS, runs_when_full=True),
        "write_client": _Script(runs_when_full=True),
        "write_topic": _Script(_WRITE),
    }
)
NAMES = tuple(_SCRIPTS)
"""Every script, by the name under which it is called."""


@cache
def source_of(name: str) -> str:
    """The Lua text of a script, ready for SCRIPT LOAD."""
    script = _SCRIPTS[name]
    folder = resources.files("broker.store") / "lua"
    head = "#!lua flags=allow-oom\n" if script.runs_when_full else ""
    if "subscription" in script.shared:
        head += f"local WAKE = '{keys.WAKE}'\n"
    parts = [*(folder / "shared" / f"{part}.lua" for part in script.shared), folder / f"{name}.lua"]
    return head + "".join(part.read_text() for part in parts)
