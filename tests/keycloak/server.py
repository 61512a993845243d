"""A Keycloak in development mode: its distribution from Maven, started on loopback, and its admin API."""

import contextlib
import secrets
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.validation.java_project import is_without_answer

VERSION = "26.5.6"
_ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_DOWNLOAD_S = 600
_START_S = 300
_ADMIN = "admin"


class Unavailable(Exception):  # noqa: N818 named for what is the case
    """Keycloak cannot be had here; the text says why."""


def distribution(folder: Path) -> Path:
    """The unpacked distribution, in the folder. Raises `Unavailable`."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not found; install a JDK (17 or newer) and Maven")
    command = [
        "mvn",
        "--quiet",
        "--batch-mode",
        _COPY,
        f"-Dartifact={_ARTIFACT}",
        f"-DoutputDirectory={folder}",
    ]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Maven did not end within {_DOWNLOAD_S} s") from error
    if done.returncode:
        output = done.stdout + done.stderr
        if is_without_answer(output) or "Could not find artifact" in output:
            raise Unavailable(f"no repository that Maven reaches has {_ARTIFACT}")
        raise RuntimeError(f"Maven ended with {done.returncode}: {output[-2000:]}")
    with zipfile.ZipFile(folder / f"keycloak-quarkus-dist-{VERSION}.zip") as archive:
        archive.extractall(folder)
    script = folder / f"keycloak-{VERSION}" / "bin" / "kc.sh"
    script.chmod(0o755)
    return script


class Keycloak:
    """A running one. Its realm is `REALM`."""

    REALM = "hospital"

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.issuer = f"{url}/realms/{self.REALM}"
        self._password = password
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def token_of_admin(self) -> str:
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": _ADMIN,
            "password": self._password,
        }
        answer = self._http.post("/realms/master/protocol/openid-connect/token", data=form)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A request to the admin API, below the realms; raises for an error."""
        headers = {"Authorization": f"Bearer {self.token_of_admin()}"}
        answer = self._http.request(method, f"/admin/realms{path}", json=body, headers=headers)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    def token(self, form: dict[str, str]) -> str:
        """An access token of the realm."""
        answer = self._http.post(f"/realms/{self.REALM}/protocol/openid-connect/token", data=form)
        if answer.is_error:
            raise RuntimeError(f"no token: {answer.status_code} {answer.text}")
        return str(answer.json()["access_token"])


@contextlib.contextmanager
def running_keycloak(script: Path) -> Iterator[Keycloak]:
    """Starts it with an empty database in memory, and stops it."""
    port, password = free_port(), secrets.token_urlsafe()
    command = [
        str(script),
        "start-dev",
        "--db=dev-mem",
        "--http-host=127.0.0.1",
        f"--http-port={port}",
        "--log-level=warn",
    ]
    log = script.parent / "keycloak.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(script.parent),
                "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
                "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx768m",
            },
        )
    try:
        keycloak = Keycloak(f"http://127.0.0.1:{port}", password)
        _wait(keycloak, process, log)
        yield keycloak
    finally:
        process.terminate()
        process.wait(60)


def _wait(keycloak: Keycloak, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            keycloak.token_of_admin()
            return
        time.sleep(0.5)
    raise RuntimeError(f"Keycloak did not start: {log.read_text()[-2000:]}")
