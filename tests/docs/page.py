"""Reads a page of the documentation as steps: its code blocks, and what its test does between them.

HTML comments, which readers of the page do not see, say to the test what the text says to readers:

    <!-- test: until -->            the next block is repeated until its answer is as shown
    <!-- test: in background as N --> the next block keeps running under the name N, until the end of the page
    <!-- test: output of N -->      the next block shows what the background block N prints
    <!-- test: stop N -->           stops the background block N, or the broker
    <!-- test: start broker -->     starts the broker again
    <!-- test: await T at P -->     waits until the broker's answer to GET P has the text T
    <!-- test: saved as F -->       the next block is saved as the file F, not run
    <!-- test: not run: reason -->  the next block is only checked: its syntax, commands and options
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(
    r"<!-- test: (?P<directive>.*?) -->|^```(?P<language>\w*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
RUNNABLE = frozenset({"sh", "python"})
ANSWERS = frozenset({"text", "json", "http"})


@dataclass(frozen=True, slots=True)
class Block:
    """A code block with the directives in front of it, and its line on the page."""

    language: str
    code: str
    line: int
    directives: tuple[str, ...] = ()

    def directive(self, start: str) -> str | None:
        """The rest of the directive that begins with `start`; None if there is none."""
        for directive in self.directives:
            if directive.startswith(start):
                return directive.removeprefix(start).strip()
        return None


@dataclass(frozen=True, slots=True)
class Control:
    """A directive that stands for itself: `stop N`, `start broker` or `await T at P`."""

    verb: str
    name: str


def steps(page: Path) -> Iterator[Block | Control]:
    """The steps in the order of the page."""
    text = page.read_text()
    directives: list[str] = []
    for match in _STEP.finditer(text):
        directive = match["directive"]
        if directive is None:
            line = text.count("\n", 0, match.start()) + 1
            yield Block(match["language"], match["code"], line, tuple(directives))
            directives.clear()
        elif directive.startswith(("stop ", "start ", "await ")):
            verb, _, name = directive.partition(" ")
            yield Control(verb, name)
        else:
            directives.append(directive)
