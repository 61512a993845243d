"""Sends requests of the commands to a running broker: the result, or a `ConfigurationError` of one line with
the reason.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Self, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

import httpx
import typer
from rich.console import Console
from rich.progress import Progress

from broker.cli.credentials import auth_for
from broker.errors import ConfigurationError

HEADERS: Mapping[str, str] = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
TIMEOUT_S = 30.0
DEFAULT_BASE = "http://127.0.0.1:8080"
BaseOption: TypeAlias = Annotated[
    str, typer.Option("--base", help="The URL of the broker, or of one of its FHIR bases.")
]
Parts: TypeAlias = Sequence[Mapping[str, Any]]
"""The parameters of a Parameters resource, or the parts of one of them."""


def check_url(option: str, url: str | None) -> None:
    """Raises `ConfigurationError` for an option whose value is no http or https URL."""
    if url is not None and not re.fullmatch(r"https?://[^/?#\s]+\S*", url):
        raise ConfigurationError(f"{option} {url} is not a URL. Give one like http://127.0.0.1:8080.")


def root_url(base: str) -> str:
    """The URL of the broker, from its own URL or that of one of its FHIR bases."""
    return re.sub(r"/(r4|r4b|r5)/*$", "", base.rstrip("/"))


def fhir_base(base: str) -> str:
    """The URL of a FHIR base, without a slash at its end: the one given, or R4 of the broker given."""
    trimmed = base.rstrip("/")
    return f"{trimmed}/r4" if trimmed == root_url(trimmed) else trimmed


def trusted() -> ssl.SSLContext:
    """TLS that trusts the authorities of the system, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


class BrokerClient:
    """A client of the R5 base of a broker, whichever base was given: the operations used here are the same at
    all bases. `scope` is what the command needs where the broker has access control.
    """

    def __init__(self, base: str, scope: str) -> None:
        check_url("--base", base)
        self.url = root_url(base)
        self.base = fhir_base(base)
        auth = auth_for(f"{self.url}/r5", scope)
        self._client = httpx.Client(
            headers=HEADERS, timeout=TIMEOUT_S, trust_env=False, auth=auth, verify=trusted()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, release: str = "r5") -> dict[str, Any]:
        """The resource at a path of the base of a release."""
        return request(self._client, "GET", f"{self.url}/{release}/{path}")

    def put(self, path: str, resource: Mapping[str, Any], release: str) -> dict[str, Any]:
        """Replaces the version that was read. The resource as stored."""
        headers = {"If-Match": f'W/"{resource["meta"]["versionId"]}"'}
        return request(self._client, "PUT", f"{self.url}/{release}/{path}", json=resource, headers=headers)

    def post(self, path: str, resource: Mapping[str, Any], release: str) -> dict[str, Any]:
        """The answer to a resource that is sent to a path of the base of a release."""
        return request(self._client, "POST", f"{self.url}/{release}/{path}", json=resource)

    def delete(self, path: str) -> None:
        request(self._client, "DELETE", f"{self.url}/r5/{path}")

    def search(self, resource_type: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """The resources of every page. Only the query of a next link is used: its host is the broker's name
        for itself.
        """
        return self.search_many(resource_type, "r5", **{name: [text] for name, text in parameters.items()})

    def search_many(
        self, resource_type: str, release: str, **parameters: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """`search` in a release, for parameters that may be repeated; empty values are left out."""
        pairs = [(name, text) for name, texts in parameters.items() for text in texts if text]
        query = urlencode([*pairs, ("_count", "1000")])
        while query:
            page = self.get(f"{resource_type}?{query}", release)
            yield from (entry["resource"] for entry in page.get("entry", []))
            links = {link["relation"]: link["url"] for link in page.get("link", [])}
            query = urlsplit(links.get("next", "")).query

    def get_with(self, path: str, parameters: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
        """The resource at a path with query parameters, which may be repeated."""
        return request(self._client, "GET", f"{self.url}/r5/{path}", params=parameters)

    def lines(self, path: str, parameters: Mapping[str, str]) -> Iterator[str]:
        """The lines of an answer while it arrives, from the base that was given; empty parameters are left
        out.
        """
        sent = {name: text for name, text in parameters.items() if text}
        headers = {"Accept": "application/fhir+ndjson, application/fhir+json"}
        try:
            with self._client.stream("GET", f"{self.base}/{path}", params=sent, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    reason = reason_of(response)
                    raise ConfigurationError(
                        f"The broker refused the request ({response.status_code}): {reason}"
                    )
                yield from response.iter_lines()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ConfigurationError(
                f"The broker at {self.base} does not answer to the end ({error}). Run the command again."
            ) from error

    def clients(
        self, method: str, client_id: str = "", registration: Mapping[str, Any] | None = None, etag: str = ""
    ) -> tuple[dict[str, Any], str]:
        """The JSON of a request to the API for registered clients, and its entity tag. With `etag`, only what
        has it is changed.
        """
        url = f"{self.url}/oauth/clients" + (f"/{quote(client_id, safe='')}" if client_id else "")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"If-Match": etag} if etag else {}
        answer, given = _exchange(self._client, method, url, json=registration, headers=headers)
        return answer, given.get("ETag", "")

    def operate(self, path: str, **inputs: str | int | Sequence[str]) -> dict[str, Any]:
        """The response of an operation. `inputs` are its parameters by name; empty ones are left out."""
        parameter = [
            {"name": name, "valueString": str(text)}
            for name, value in inputs.items()
            for text in ([value] if isinstance(value, str | int) else value)
            if text != ""
        ]
        body = {"resourceType": "Parameters"} | ({"parameter": parameter} if parameter else {})
        return request(self._client, "POST", f"{self.url}/r5/{path}", json=body)


def request(client: httpx.Client, method: str, url: str, **options: Any) -> dict[str, Any]:
    """The JSON of a successful response. Raises `ConfigurationError` if there is none, with the reason that
    the broker gave.
    """
    return _exchange(client, method, url, **options)[0]


def _exchange(
    client: httpx.Client, method: str, url: str, **options: Any
) -> tuple[dict[str, Any], httpx.Headers]:
    """The JSON and the headers of a successful response, as `request` says."""
    try:
        response = client.request(method, url, **options)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            f"The broker at {url} does not answer ({error}). Start it, or correct --base."
        ) from error
    try:
        if response.is_success:
            body: dict[str, Any] = response.json() if response.content else {}
            return body, response.headers
    except ValueError as error:
        raise ConfigurationError(f"{url} does not answer in JSON. Correct --base.") from error
    raise ConfigurationError(
        f"The broker refused the request ({response.status_code}): {reason_of(response)}"
    )


def reason_of(response: httpx.Response) -> str:
    """Why a request was refused: the texts of the OperationOutcome, or the beginning of what came instead."""
    try:
        answer = response.json()
        if "error_description" in answer:  # an endpoint of OAuth
            return str(answer["error_description"])
        return " ".join(issue["diagnostics"] for issue in answer["issue"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text[:200].split()) or response.reason_phrase


def progress_bar() -> Progress:
    """A progress bar on stderr, shown only on a terminal, so that the log of a script stays short."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def value(parts: Parts, name: str) -> Any:
    """The value or the resource of the first part with that name; None without one."""
    for part in parts:
        if part["name"] == name:
            if "resource" in part:
                return part["resource"]
            return next((value for key, value in part.items() if key.startswith("value")), None)
    return None


def groups(parts: Parts, name: str) -> list[Parts]:
    """The parts of each part with that name."""
    return [part.get("part", []) for part in parts if part["name"] == name]


def as_plain(parts: Parts) -> dict[str, Any]:
    """The parts as JSON for scripts: a value by its name, and a list by the name of parts that have parts."""
    plain: dict[str, Any] = {}
    for part in parts:
        if "part" in part:
            plain.setdefault(part["name"], []).append(as_plain(part["part"]))
        else:
            plain[part["name"]] = value([part], part["name"])
    return plain
