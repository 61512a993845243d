"""The text of each Lua script: the shared functions it needs, then the script itself.

The connection modules load every script of `NAMES` at start, and again when a server has lost its scripts.
"""

from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class _Script:
    """`shared` names the Lua files whose functions the script uses, in the order they depend on each other.

    `runs_when_full`: the script runs although the store has reached its `maxmemory`. Such a script adds next to nothing, and
    without it nothing is delivered or trimmed.
    """

    shared: tuple[str, ...] = ()
    runs_when_full: bool = False


_SCRIPTS = MappingProxyType(
    {
        "advance": _Script(runs_when_full=True),
        "append": _Script(),
        "append_events": _Script(("registry", "gaps")),
        "claim": _Script(("registry", "turn"), runs_when_full=True),
        "commit": _Script(("registry", "dead_letters", "turn"), runs_when_full=True),
        "discard_dead_letters": _Script(("dead_letters",), runs_when_full=True),
        "extend": _Script(runs_when_full=True),
        "fail": _Script(("registry",), runs_when_full=True),
        "hold": _Script(),
        "lease": _Script(runs_when_full=True),
        "presence": _Script(runs_when_full=True),
        "redrive": _Script(),
        "redrive_dead_letters": _Script(("dead_letters",)),
        "register": _Script(("registry",)),
        "resend": _Script(),
        "set_aside": _Script(),
        "skip_numbers": _Script(("registry", "gaps"), runs_when_full=True),
        "topic": _Script(),
        "trim_changes": _Script(runs_when_full=True),
        "trim_outbox": _Script(("registry", "gaps"), runs_when_full=True),
        "unlease": _Script(runs_when_full=True),
        "wake": _Script(runs_when_full=True),
    }
)
NAMES = tuple(_SCRIPTS)
"""Every script, by the name under which it is called."""


def source_of(name: str) -> str:
    """The Lua text of a script, ready for SCRIPT LOAD."""
    script = _SCRIPTS[name]
    folder = resources.files("broker.store") / "lua"
    head = "#!lua flags=allow-oom\n" if script.runs_when_full else ""
    return head + "".join((folder / f"{part}.lua").read_text() for part in (*script.shared, name))
