"""Questions to a running broker: an answer, or one line that says why there is none."""

import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Self, TypeAlias

import httpx
import typer
from rich.console import Console
from rich.progress import Progress

from broker.errors import ConfigurationError

_JSON = "application/fhir+json"
_TIMEOUT_S = 30.0
BASE = "http://127.0.0.1:8080"
Base: TypeAlias = Annotated[str, typer.Option("--base", help="The broker's URL, or one of its FHIR bases.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Broker:
    """Asks the R5 base, whichever base was named: what is asked here is the same at all of them."""

    def __init__(self, base: str) -> None:
        self.url = re.sub(r"/(r4|r4b|r5)$", "", base.rstrip("/"))
        headers = {"Content-Type": _JSON, "Accept": _JSON}
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """The resource at a path of the base. Raises `ConfigurationError` with the broker's reason if it refuses."""
        return self._answer("GET", path, params=query)

    def operate(self, path: str, **given: str | int | Sequence[str]) -> dict[str, Any]:
        """What an operation answers to parameters by name; those that are empty are left out."""
        parameter = [
            {"name": name, "valueString": str(one)}
            for name, value in given.items()
            for one in ([value] if isinstance(value, str | int) else value)
            if one != ""
        ]
        body = {"resourceType": "Parameters"} | ({"parameter": parameter} if parameter else {})
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, f"{self.url}/r5/{path}", **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ConfigurationError(f"the broker at {self.url} does not answer: {error}") from error
        try:
            answer: dict[str, Any] = response.json()
            if response.is_success:
                return answer
            reason = "; ".join(issue["diagnostics"] for issue in answer["issue"])
        except (ValueError, KeyError, TypeError, AttributeError):
            reason = response.text[:200]
        raise ConfigurationError(f"{self.url} refused ({response.status_code}): {reason}")


def progress() -> Progress:
    """A bar beside the output; on a terminal only, so that an error stays one line in a log."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


Parts = Sequence[Mapping[str, Any]]


def value(parts: Parts, name: str) -> Any:
    """The value of the first part of that name; None without one."""
    for part in parts:
        if part["name"] == name:
            return next((value for key, value in part.items() if key.startswith("value")), None)
    return None


def groups(parts: Parts, name: str) -> list[Parts]:
    return [part.get("part", []) for part in parts if part["name"] == name]


def plain(parts: Parts) -> dict[str, Any]:
    """Parts as JSON for scripts: values by name, what is made of parts as lists."""
    found: dict[str, Any] = {}
    for part in parts:
        if "part" in part:
            found.setdefault(part["name"], []).append(plain(part["part"]))
        else:
            found[part["name"]] = value([part], part["name"])
    return found
