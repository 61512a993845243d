"""An import-linter contract type: which package may import which third-party libraries, as an allow-list.

`lint-imports` runs it as `type = "libraries"` (pyproject.toml). import-linter itself can only forbid named
libraries, so a library that nobody named would pass. Here an import that no entry allows breaks the contract,
and so does a package without an entry.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Libraries(Contract):
    """`allowed` holds one entry for each package or module below the root: `package: library, library`.

    The standard library is always allowed.
    """

    type_name = "libraries"

    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 the interface of import-linter
        allowed = dict(_parse(entry) for entry in cast("list[str]", self.allowed))
        roots: list[str] = self.session_options["root_packages"]
        problems = [problem for root in roots for problem in _problems(graph, root, allowed)]
        return ContractCheck(kept=not problems, metadata={"problems": problems})

    def render_broken_contract(self, check: ContractCheck) -> None:
        problems: list[str] = check.metadata["problems"]
        for problem in problems:
            output.print_error(problem)


def _parse(entry: str) -> tuple[str, frozenset[str]]:
    package, _, libraries = entry.partition(":")
    return package.strip(), frozenset(name.strip() for name in libraries.split(",") if name.strip())


def _problems(graph: ImportGraph, root: str, allowed: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for package in sorted(graph.find_children(root)):
        if package.removeprefix(f"{root}.") not in allowed:
            yield f"{package} has no entry: list the libraries it may import, if any"
    modules = {module for module in graph.modules if module.partition(".")[0] != root}
    for module in sorted(modules):
        library = module.partition(".")[0]
        if library in sys.stdlib_module_names:
            continue
        for importer in sorted(graph.find_modules_that_directly_import(module)):
            package = importer.removeprefix(root).removeprefix(".").partition(".")[0]
            if library not in allowed.get(package, frozenset()):
                yield f"{importer} imports {library}: the entry of {package or root} doesn't allow it"
