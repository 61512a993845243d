"""`conformance-report`: how resources meet their profiles, by profile and element."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from broker.app import reachable_store
from broker.app.stored_types import visit_type
from broker.cli.broker_client import DEFAULT_BASE, HEADERS, TIMEOUT_S, check_url, fhir_base, request, trusted
from broker.cli.credentials import auth_for
from broker.errors import ConfigurationError, RequestError
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import find_issues
from broker.matching.fhirpath import compile_invariant
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.wording import count_of
from broker.profiles.catalog import ProfileCatalog
from broker.profiles.report import Reporter
from broker.services.conformance import ReportFormat, as_document
from broker.settings import Settings
from broker.store.stored_types import ListedResource

_REFERENCE = re.compile(r"[A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64}")
_STDIN = "-"


def conformance_report(
    resources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files of resources or Bundles (*.json, *.ndjson), folders of them, - for NDJSON on standard"
            " input, or resources that the broker stores, as Type/id."
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="The URL of a profile that each resource has to meet, besides its own. Repeatable."
        ),
    ] = None,
    profiles_dir: Annotated[
        Path | None,
        typer.Option(
            help="FHIR packages and folders of definitions, besides the built-in vital signs."
            " Default: that of BROKER_PROFILES_DIR."
        ),
    ] = None,
    release: Annotated[Release, typer.Option(help="The release of the resources.")] = Release.R4,
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="The format of the report.")
    ] = ReportFormat.MARKDOWN,
    output: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
    base: Annotated[
        str, typer.Option(help="The URL of the broker that has the stored resources.")
    ] = DEFAULT_BASE,
    stored_type: Annotated[
        list[str] | None,
        typer.Option(
            "--all",
            metavar="TYPE",
            help="A type, for all of its resources in the store, which the settings of the environment name."
            " Repeatable.",
        ),
    ] = None,
    tenant: Annotated[str, typer.Option(help="The tenant whose resources --all reads.")] = DEFAULT_TENANT,
) -> None:
    """Report how resources meet their profiles, by profile and element.

    For each profile that a resource declares or that its code implies: how many resources passed and failed
    each element, and how many have it, with must-support marked. The report has no value of a resource.

    Exit code 0 if all conform, 1 if not, 2 if the broker cannot tell.

    Examples:

        fhir-broker conformance-report readings/ --format html --output report.html

        fhir-broker conformance-report Observation/17 Observation/18

        fhir-broker conformance-report --all Observation --all Device
    """
    if not resources and not stored_type:
        raise ConfigurationError("There is nothing to report. Give files, resources, or --all TYPE.")
    definitions = profiles_dir or Settings.from_environment(os.environ).profiles_dir
    catalog = ProfileCatalog.load(definitions, compile_invariant)
    reporter = Reporter(catalog, release, profile or ())

    def add(name: str, resource: Resource) -> None:
        try:
            structure = find_issues(release, resource.type, resource)
            reporter.add(name, resource.copy(), structure)
        except RequestError as error:
            raise ConfigurationError(f"{name}: {error}") from error

    for name, resource in _resources(resources or [], base, release):
        add(name, resource)
    unread = _add_stored(stored_type or [], tenant, release, add)
    report = reporter.report()
    text = as_document(report, report_format).text
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(0 if report.conformant == report.resources and not unread else 1)


def _add_stored(
    types: Sequence[str], tenant: str, release: Release, add: Callable[[str, Resource], None]
) -> int:
    """Adds all resources of the types that the store has in the release; how many could not be read. What is
    left out is said on standard error.
    """
    unknown = [name for name in types if name not in RESOURCE_TYPES[release]]
    if unknown:
        raise ConfigurationError(f"--all {unknown[0]} is not a resource type of {release}.")
    if not TENANT_PATTERN.fullmatch(tenant):
        raise ConfigurationError(f"{tenant} cannot be a tenant.")
    if not types:
        return 0
    others = unread = 0

    def visit(listed: ListedResource) -> None:
        nonlocal others, unread
        if listed.version is None or listed.version.resource is None:
            unread += 1
        elif listed.version.release is not release:
            others += 1
        else:
            add(listed.reference, listed.version.resource)

    settings = Settings.from_environment(os.environ)
    with reachable_store(settings) as url:
        for name in types:
            asyncio.run(visit_type(settings, url, Tenant(tenant), name, visit))
    for number, reason in (
        (others, "of other releases. Report them with --release"),
        (unread, "that cannot be read. Restore them from a backup"),
    ):
        if number:
            typer.echo(f"Left out: {count_of(number, 'stored resource')} {reason}.", err=True)
    return unread


def _resources(names: list[str], base: str, release: Release) -> Iterator[tuple[str, Resource]]:
    """The resources with the names by which the report calls them."""
    for name in names:
        path = Path(name)
        if name == _STDIN:
            yield from _lines("standard input", sys.stdin.read())
        elif path.is_dir():
            for each in sorted(path.rglob("*")):
                if each.suffix in {".json", ".ndjson"}:
                    yield from _file(each)
        elif path.is_file() or not _REFERENCE.fullmatch(name):
            yield from _file(path)
        else:
            yield name, _stored(name, base, release)


def _stored(reference: str, base: str, release: Release) -> Resource:
    check_url("--base", base)
    url = fhir_base(base)
    if url == f"{base.rstrip('/')}/r4":
        url = f"{base.rstrip('/')}/{release}"
    auth = auth_for(url, f"system/{reference.partition('/')[0]}.r")
    with httpx.Client(
        headers=HEADERS, timeout=TIMEOUT_S, trust_env=False, auth=auth, verify=trusted()
    ) as client:
        return _resource(request(client, "GET", f"{url}/{reference}"))


def _file(path: Path) -> Iterator[tuple[str, Resource]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(
            f"Cannot read {path}: {reason}. Give a file, a folder, or the reference of a stored resource."
        ) from error
    if path.suffix == ".ndjson":
        yield from _lines(str(path), text)
    else:
        yield from _document(str(path), text)


def _lines(name: str, text: str) -> Iterator[tuple[str, Resource]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield from _document(f"{name}:{number}", line)


def _document(name: str, text: str) -> Iterator[tuple[str, Resource]]:
    """The resource, or those of a Bundle."""
    resource = Resource(text.encode())
    try:
        fields: dict[str, Any] = resource.copy()
    except RequestError as error:
        raise ConfigurationError(f"{name}: {error}. Give FHIR resources in JSON.") from error
    if fields.get("resourceType") != "Bundle":
        yield name, resource
        return
    entries = json.loads(text).get("entry")
    for n, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            yield f"{name}: entry[{n}]", _resource(entry["resource"])


def _resource(fields: dict[str, Any]) -> Resource:
    return Resource(json.dumps(fields).encode())
