"""`completion`: prints what makes a shell complete the commands, options and arguments of `fhir-broker`.

The shell then runs `fhir-broker` with the variable `_FHIR_BROKER_COMPLETE` at each Tab, and typer answers.
"""

from enum import StrEnum
from typing import Annotated

import typer

# typer's module of completion imports them, and does not list them as its own
from typer.completion import completion_init, get_completion_script  # type: ignore[attr-defined]

VARIABLE = "_FHIR_BROKER_COMPLETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def prepare() -> None:
    """Makes typer answer in the form of its scripts; otherwise it does only for apps with its own options."""
    completion_init()


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print the script that makes a shell complete commands and options.

    Examples:

        fhir-broker completion bash > ~/.local/share/bash-completion/completions/fhir-broker

        echo 'source <(fhir-broker completion zsh)' >> ~/.zshrc

        fhir-broker completion fish > ~/.config/fish/completions/fhir-broker.fish
    """
    typer.echo(get_completion_script(prog_name="fhir-broker", complete_var=VARIABLE, shell=shell.value))
