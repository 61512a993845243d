"""`make reference`: writes the reference pages from the code. A test fails while one of them is not current.

docs/configuration.md and docs/metrics.md keep their text; only the table of settings or metrics is replaced.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from broker.api.dispatch import Interaction
from broker.api.interactions import interaction_table
from broker.cli.commands import COMMANDS, load
from broker.fhir.operation import ANY_TYPE, Operation, OperationParameter
from broker.fhir.operation_definitions import OPERATIONS
from broker.model.access import Access
from broker.model.release import Release
from broker.settings import Settings
from scripts.described_metrics import described_metrics
from scripts.openapi import document

ROOT = Path(__file__).resolve().parents[1]
ESCAPED = r"\|"
_GENERATED = "<!-- written by make reference; changes belong in the code -->\n"


def pages(root: Path) -> dict[Path, str]:
    """The text of each page that is written from the code."""
    docs = root / "docs"
    openapi = document()
    metrics = docs / "metrics.md"
    return {
        docs / "configuration.md": with_settings((docs / "configuration.md").read_text()),
        metrics: with_metrics(metrics.read_text()),
        docs / "reference-cli.md": cli_page(),
        docs / "reference-operations.md": operations_page(),
        docs / "reference-http.md": http_page(openapi),
        docs / "openapi.json": json.dumps(openapi, indent=2, ensure_ascii=False) + "\n",
    }


def with_settings(page: str) -> str:
    """The page of the configuration with the table of all settings: in the order that the page has, new ones
    at the end.
    """
    rows = {
        variable: _row(f"`{variable}`", kind.replace("|", "or"), f"`{default}`" if default else "unset", text)
        for variable, kind, default, text in Settings.describe()
    }
    listed = [name for name in re.findall(r"^\| `(BROKER_\w+)`", page, re.MULTILINE) if name in rows]
    table = ["| Variable | Type | Default | What it does |", "|---|---|---|---|"]
    table += [rows[name] for name in dict.fromkeys([*listed, *rows])]
    return _with_table(page, table, "docs/configuration.md has no table of settings")


def with_metrics(page: str) -> str:
    """The page of the metrics with the table of all: those of the store, then those of the process."""
    table = ["| metric | type | labels | of | meaning |", "|---|---|---|---|---|"]
    table += [
        _row(f"`{each.name}`", each.type, ", ".join(each.labels), each.of, each.text)
        for each in described_metrics()
    ]
    return _with_table(page, table, "docs/metrics.md has no table of metrics")


def _with_table(page: str, table: Sequence[str], problem: str) -> str:
    """The page with its table of that head replaced; raises `ValueError` for a page without it."""
    replaced, count = re.subn(
        rf"^{re.escape(table[0])}\n.*?(?=\n\n)",
        lambda _: "\n".join(table),
        page,
        count=1,
        flags=re.MULTILINE | re.DOTALL,
    )
    if not count:
        raise ValueError(problem)
    return replaced


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        _GENERATED,
        "`fhir-broker COMMAND --help` says the same; `fhir-broker completion SHELL` helps with typing.",
    ]
    for name, entry in COMMANDS.items():
        command = load(name, entry)
        lines += ["", f"## {name}", "", *_help(command)]
        children = getattr(command, "commands", {})
        if not children:
            lines += _parameters_of(command)
        for child, subcommand in children.items():
            lines += ["", f"### {name} {child}", "", *_help(subcommand), *_parameters_of(subcommand)]
    return "\n".join(lines) + "\n"


def _help(command: Any) -> Iterator[str]:
    """The help as Markdown: its examples, which are indented, become one block."""
    paragraphs = (command.help or "").strip().split("\n\n")
    examples = [paragraph.strip() for paragraph in paragraphs if paragraph.startswith("    ")]
    for paragraph in paragraphs:
        if not paragraph.startswith("    "):
            yield textwrap.fill(
                " ".join(paragraph.split()), 110, break_on_hyphens=False, break_long_words=False
            )
            yield ""
    if examples:
        lines = [re.sub(r"\n\s+", " \\\\\n    ", example) for example in examples]  # of one that is long
        yield from ["```sh", *lines, "```", ""]


def _parameters_of(command: Any) -> Iterator[str]:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    shown = [parameter for parameter in shown if parameter.name != "help"]
    if not shown:
        return
    yield "| argument or option | default | what it does |"
    yield "|---|---|---|"
    for parameter in shown:
        is_argument = parameter.param_type_name == "argument"
        name = (parameter.metavar or parameter.name.upper()) if is_argument else ", ".join(parameter.opts)
        yield _row(f"`{name}`", _default(parameter), getattr(parameter, "help", None) or "")


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default is None or callable(default) or default in {"", False} or default == []:
        return ""
    return f"`{getattr(default, 'value', default)}`"


def operations_page() -> str:
    """Every operation with its URLs, its access and its parameters, and every other interaction."""
    rows = interaction_table(MagicMock()).rows
    lines = [
        "# Operations and interactions",
        "",
        _GENERATED,
        "Paths are below `/r4`, `/r4b` and `/r5`. The access counts with `BROKER_AUTH=smart`; `{type}` is",
        "the type of the resource. `OperationDefinition/[name]` of a base has the same parameters.",
    ]
    for operation in sorted(OPERATIONS, key=lambda operation: operation.code):
        lines += ["", *_operation(operation, rows)]
    lines += ["", "## Interactions", "", "| method | path | access |", "|---|---|---|"]
    others = [row for row in rows if "$" not in row.path and not row.is_refusal]
    lines += list(
        dict.fromkeys(_row(row.method, f"`/{row.path}`", access_text(row.access)) for row in others)
    )
    return "\n".join(lines) + "\n"


def _operation(operation: Operation, rows: Sequence[Interaction]) -> Iterator[str]:
    yield from [f"## ${operation.code}", "", f"{operation.title}. {_nature(operation)}", ""]
    own = [row for row in rows if row.path.endswith(f"${operation.code}") and not row.is_refusal]
    paths = dict.fromkeys(row.path for row in own)
    yield "| at | methods | access |"
    yield "|---|---|---|"
    for path in paths:
        methods = ", ".join(row.method for row in own if row.path == path)
        access = next(row.access for row in own if row.path == path)
        yield _row(f"`/{path}`", methods, access_text(access))
    if operation.parameters:
        yield from ["", "| parameter | | occurs | type | meaning |", "|---|---|---|---|---|"]
        yield from _operation_parameters(operation.parameters)


def _nature(operation: Operation) -> str:
    effect = "It changes something." if operation.affects_state else "It only reads."
    if not operation.standard:
        return f"{effect} It is the broker's own."
    releases = ", ".join(release.upper() for release in Release if release in operation.standard)
    where = "of every type" if operation.resource == ANY_TYPE else "by HL7"
    return f"{effect} Defined {where}, in {releases}."


def _operation_parameters(parameters: Sequence[OperationParameter], parent: str = "") -> Iterator[str]:
    for parameter in parameters:
        releases = ""
        if len(parameter.releases) < len(Release):
            releases = f" ({', '.join(each.upper() for each in Release if each in parameter.releases)})"
        yield _row(
            f"`{parent}{parameter.name}`",
            parameter.use,
            f"{parameter.min}..{parameter.max}",
            parameter.type or "parts",
            parameter.documentation + releases,
        )
        yield from _operation_parameters(parameter.parts, f"{parent}{parameter.name}.")


def access_text(access: Access) -> str:
    """What a client needs, in words."""
    if access.is_public:
        return "nobody is asked"
    if access.is_authenticated:
        return "any client"
    return f"the role {access.role}" if access.role else f"`{access.scope}`"


def http_page(openapi: dict[str, Any]) -> str:
    """The endpoints beside FHIR, as a table; openapi.json has the schemas."""
    lines = [
        "# Endpoints beside FHIR",
        "",
        _GENERATED,
        "[openapi.json](openapi.json) has them in OpenAPI 3.1, with the schemas of requests and answers.",
        "",
        "| method | path | what it does | answers |",
        "|---|---|---|---|",
    ]
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            answers = ", ".join(operation["responses"])
            lines.append(_row(method.upper(), f"`{path}`", operation["summary"], answers))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', ESCAPED) for cell in cells)} |"


def main() -> None:
    for path, text in pages(ROOT).items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
