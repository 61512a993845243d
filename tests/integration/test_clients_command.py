"""`fhir-broker clients`: from the first administrator, before anybody has a token, to a client that is
removed.
"""

import asyncio
import json
import os
import signal
import stat
from pathlib import Path

from tests.integration.commands import Command, run
from tests.ports import free_port

LONG_ID = "gateway-of-the-intensive-care-unit-" + "x" * 60


async def test_clients_are_administered_from_the_command_line(tmp_path: Path) -> None:
    clients_dir, port = tmp_path / "clients", free_port()
    clients_dir.mkdir()
    base = f"http://127.0.0.1:{port}"
    root_key, key, second = (tmp_path / f"{name}.pem" for name in ("root", "gateway", "second"))
    settings = {
        "port": str(port),
        "data_dir": str(tmp_path / "data"),
        "auth": "smart",
        "clients_dir": str(clients_dir),
    }

    async def command(*arguments: str, code: int = 0, client: str = "root", pem: Path = root_key) -> str:
        options = ("--base", base, "--client-id", client, "--key", str(pem))
        done = await asyncio.to_thread(run, *arguments, *options)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    add_root = ("clients", "add", "root", "--admin", "--make-key", str(root_key), "--dir", str(clients_dir))
    with Command.of_broker(tmp_path, "serve", **settings) as serve:
        await serve.until_output("no client is registered")
        shown = await asyncio.to_thread(run, *add_root)
        assert shown.returncode == 0, shown.stderr
        assert "Send SIGHUP" in shown.stdout
        assert stat.S_IMODE(root_key.stat().st_mode) == 0o600
        again = await asyncio.to_thread(run, *add_root)
        assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
        assert "root.pem exists" in again.stderr
        os.kill(serve.pid, signal.SIGHUP)
        await serve.until_output("clients loaded")

        add = ("clients", "add", LONG_ID, "--scope", "system/SubscriptionTopic.rs", "--make-key", str(key))
        assert "To test it: fhir-broker topics list" in await command(*add)
        await command("topics", "list", client=LONG_ID, pem=key)
        assert LONG_ID in await command("clients", "list")
        listed = json.loads(await command("clients", "list", "--json"))
        assert [(row["client_id"], row["source"]) for row in listed] == [(LONG_ID, "store"), ("root", "file")]
        assert "registered already" in await command(*add[:-1], str(second), code=2)
        assert not second.exists()  # the key of a client that was not registered

        rotated = await command("clients", "rotate-key", LONG_ID, "--make-key", str(second))
        details = json.loads(await command("clients", "show", LONG_ID, "--json"))
        assert len(details["keys"]) == 2
        assert f"--drop {details['keys'][0]}" in rotated
        for pem in (key, second):
            await command("topics", "list", client=LONG_ID, pem=pem)
        await command("clients", "rotate-key", LONG_ID, "--drop", details["keys"][0])
        assert "invalid_client" in await command("topics", "list", client=LONG_ID, pem=key, code=2)
        assert "has no key" in await command("clients", "rotate-key", LONG_ID, "--drop", "k", code=2)

        await command("clients", "disable", LONG_ID)
        assert "invalid_client" in await command("topics", "list", client=LONG_ID, pem=second, code=2)
        assert json.loads(await command("clients", "show", LONG_ID, "--json"))["enabled"] is False
        await command("clients", "enable", LONG_ID)
        await command("topics", "list", client=LONG_ID, pem=second)
        assert "BROKER_CLIENTS_DIR" in await command("clients", "disable", "root", code=2)
        await command("clients", "remove", LONG_ID)
        assert "(404)" in await command("clients", "show", LONG_ID, code=2)
        assert await serve.stop() == 0


def test_mistakes_are_named_in_one_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    directory = ("--dir", str(tmp_path))
    for arguments, part in (
        (("add", "a"), "--make-key"),
        (("add", "a", "--jwks-uri", "https://a.example/", "--key-set", str(keys)), "Give one of"),
        (("add", "a", "--key-set", str(keys), *directory), "no JSON Web Key Set"),
        (("add", "a", "--key-set", str(tmp_path / "none"), *directory), "No such file"),
        (("add", "a b", "--jwks-uri", "https://a.example/", *directory), "client_id: "),
        (("add", "a", "--role", "root", "--make-key", str(tmp_path / "k"), *directory), "roles: "),
        (("add", "a", "--tenant", "b", "--jwks-uri", "https://a.example/"), "--tenant needs --dir"),
        (("rotate-key", "a"), "Give one of"),
    ):
        ended = run("clients", *arguments)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert part in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
