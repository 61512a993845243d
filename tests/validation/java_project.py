"""Maven projects of the tests: `judge/` has HL7's validator and HAPI's generic client. Maven builds them,
Java runs them.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

JUDGE = Path(__file__).parent / "judge"
_MAVEN = ("mvn", "--quiet", "--batch-mode", "package", "dependency:build-classpath")
_SHOWN_CHARS = 4_000
_LIMIT_S = 900


_WITHOUT_ANSWER = re.compile(r"Could not transfer|Unknown ?[Hh]ost|Connection (?:refused|reset|timed out)")


class JavaFailed(Exception):  # noqa: N818 named for what is the case
    """Maven or Java ended with an error. The message has the end of its output."""


class NoAnswer(Exception):  # noqa: N818 named for what is the case
    """No repository answered Maven."""


def missing_tools() -> list[str]:
    """The commands that the project needs and that are not on PATH."""
    return [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]


def build(project: Path = JUDGE) -> None:
    """Downloads what the project needs and compiles it. Raises `JavaFailed` or `NoAnswer`."""
    try:
        _run([*_MAVEN, f"-Dmdep.outputFile={_classpath_file(project)}"], project)
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"Maven did not end within {_LIMIT_S} s") from error
    except JavaFailed as error:
        if is_without_answer(str(error)):
            raise NoAnswer("no repository answered Maven") from error
        raise


def is_without_answer(output: str) -> bool:
    """Whether Maven's output says that no repository answered; one that lacks an artifact has answered."""
    return _WITHOUT_ANSWER.search(output) is not None


def run(main_class: str, *arguments: str) -> str:
    """The standard output of a class of the judge. Raises `JavaFailed`."""
    return _run(java_command(JUDGE, main_class, *arguments), JUDGE)


def java_command(project: Path, main_class: str, *arguments: str) -> list[str]:
    """What runs a class of a built project."""
    paths = (str(project / "target" / "classes"), _classpath_file(project).read_text().strip())
    return ["java", "-Xmx2g", "-cp", os.pathsep.join(paths), main_class, *arguments]


def _classpath_file(project: Path) -> Path:
    return project / "target" / "classpath"


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr)[-_SHOWN_CHARS:]
        raise JavaFailed(f"{command[0]} ended with {done.returncode}:\n{output}")
    return done.stdout
