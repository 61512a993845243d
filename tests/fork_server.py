"""`python -m tests.fork_server DESCRIPTOR`: a process that has imported the broker, and forks brokers.

The descriptor is a socket of packets. A request is JSON: to spawn a broker, with two descriptors for its
standard output and standard error, or to report the exit code of one that has ended. A reply is a number: the
process id, or the exit code, which is negative for a signal. The server ends when the socket closes, and the
kernel then kills its children.

A forked broker runs `broker.__main__.main`, as `python -m broker` does, with an environment, a working
directory and a session of its own. What blocks its event loop is reported (`tests/served_loop_blocks.py`).
"""

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import broker.cli
import tests.quick_imports  # noqa: F401
from broker.__main__ import main as run_broker
from broker.app.topics import load_catalog
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import prepare
from broker.mapping.mapping_set import shipped_mappings
from broker.model.release import Release
from broker.settings import Settings
from tests import served_loop_blocks

_MAX_REQUEST_BYTES = 200_000
_COMMON_TYPES = (
    "Observation",
    "Patient",
    "Encounter",
    "Device",
    "Subscription",
    "OperationOutcome",
    "Parameters",
)


def serve(descriptor: int) -> dict[str, Any] | None:
    """Answers requests. Returns the request in each process that it forks, and None at the end."""
    parent = os.getpid()
    with socket.socket(fileno=descriptor) as requests:
        while True:
            data, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST_BYTES, 2)
            if not data:
                return None
            request = json.loads(data)
            if "ended" in request:
                _, status = os.waitpid(request["ended"], 0)
                requests.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            pid = os.fork()
            if pid == 0:
                _become_broker(request, parent, *descriptors)
                return dict(request)
            for each in descriptors:
                os.close(each)
            requests.send(str(pid).encode())


def _become_broker(request: dict[str, Any], parent: int, stdout: int, stderr: int) -> None:
    """Sets what a new program gets from its caller."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.argv = ["fhir-broker", *request["arguments"]]
    served_loop_blocks.watch(request["arguments"], request["blocks"], request["test"])


def main() -> None:
    for module in pkgutil.iter_modules(broker.cli.__path__, "broker.cli."):
        importlib.import_module(module.name)  # so that no command has to import it and its libraries
    importlib.import_module("jsonschema")  # nor a broker with a folder of mappings
    load_catalog(Settings(topics_dir=Path(__file__).parents[1] / "topics"))
    shipped_mappings()
    for release in Release:
        prepare(release, RESOURCE_TYPES[release].intersection(_COMMON_TYPES))
    gc.collect()
    gc.freeze()
    if serve(int(sys.argv[1])) is not None:
        run_broker()


if __name__ == "__main__":
    main()
