"""The clients of the files `BROKER_CLIENTS_DIR/*.json`, one registration a file."""

import json
from collections.abc import Mapping
from pathlib import Path

from broker.errors import ConfigurationError
from broker.security.clients import Client, UrlProblems, parse_client


class ClientDirectory:
    """The registrations of a folder. Without a folder there are none.

    `load` replaces all clients at once; where it raises, those of before stay.
    """

    def __init__(self, folder: Path | None, url_problems: UrlProblems) -> None:
        self._folder = folder
        self._url_problems = url_problems
        self._clients: Mapping[str, Client] = {}

    def load(self) -> None:
        """Raises `ConfigurationError`, one line with the file and the element, for the first file that is not
        valid.
        """
        if self._folder is None:
            return
        if not self._folder.is_dir():
            raise ConfigurationError(
                f"BROKER_CLIENTS_DIR={self._folder} is not a directory. Make it, or name another."
            )
        files: dict[str, Path] = {}
        clients: dict[str, Client] = {}
        for path in sorted(self._folder.glob("*.json")):
            client = self._read(path)
            if client.client_id in clients:
                raise ConfigurationError(
                    f"{path}: client_id: {client.client_id!r} is also in {files[client.client_id]}. "
                    "Remove one of them."
                )
            files[client.client_id], clients[client.client_id] = path, client
        self._clients = clients

    async def find(self, client_id: str) -> Client | None:
        """The client of that id, also one that is disabled."""
        return self._clients.get(client_id)

    def _read(self, path: Path) -> Client:
        try:
            return parse_client(
                json.loads(path.read_bytes(), object_pairs_hook=_without_duplicates), self._url_problems
            )
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}. Correct its permissions.") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{path}: {error}. Correct the file.") from error

    def __len__(self) -> int:
        return len(self._clients)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members
