"""The clients of the files `BROKER_CLIENTS_DIR/*.json`, one registration a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.errors import ConfigurationError
from broker.security.clients import Registration, UrlProblems, decode_registration, parse_client


class ClientDirectory:
    """The registrations of a folder. Without a folder there are none.

    `read` changes nothing; `replace` replaces all clients at once.
    """

    def __init__(self, folder: Path | None, url_problems: UrlProblems) -> None:
        self._folder = folder
        self._url_problems = url_problems
        self._registrations: Mapping[str, Registration] = {}

    def load(self) -> None:
        """Reads and replaces. Where it raises what `read` raises, the clients of before stay."""
        self.replace(self.read())

    def replace(self, registrations: Mapping[str, Registration]) -> None:
        self._registrations = registrations

    def read(self) -> Mapping[str, Registration]:
        """The registrations that the folder has now, by client id. Raises `ConfigurationError`, one line with
        the file and the element, for the first file that is not valid.
        """
        if self._folder is None:
            return {}
        if not self._folder.is_dir():
            raise ConfigurationError(
                f"BROKER_CLIENTS_DIR={self._folder} is not a directory. Make it, or name another."
            )
        files: dict[str, Path] = {}
        registrations: dict[str, Registration] = {}
        for path in sorted(self._folder.glob("*.json")):
            registration = self._read(path)
            client_id = registration.client.client_id
            if client_id in registrations:
                raise ConfigurationError(
                    f"{path}: client_id: {client_id!r} is also in {files[client_id]}. Remove one of them."
                )
            files[client_id], registrations[client_id] = path, registration
        return registrations

    def find(self, client_id: str) -> Registration | None:
        """The registration of that id, also one that is disabled."""
        return self._registrations.get(client_id)

    def all(self) -> Sequence[Registration]:
        return list(self._registrations.values())

    def _read(self, path: Path) -> Registration:
        try:
            members = decode_registration(path.read_bytes())
            return Registration(parse_client(members, self._url_problems), members, is_file=True)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}. Correct its permissions.") from error
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}. Correct the file.") from error

    def __len__(self) -> int:
        return len(self._registrations)
