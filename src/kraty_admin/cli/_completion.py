"""`kraty-admin completion`: the scripts that let shells complete commands and options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from ._failures import refusal
from ._help import Command
from ._state import State

__all__ = ["completion"]

_NAME: Final = "kraty-admin"
_VARIABLE: Final = "_KRATY_ADMIN_COMPLETE"
_SHELLS: Final = ("bash", "zsh", "fish")


def _file(shell: str) -> Path:
    """Return where a shell looks for the completions of one user."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / _NAME,
        "zsh": data / "zsh" / "site-functions" / f"_{_NAME}",
        "fish": config / "fish" / "completions" / f"{_NAME}.fish",
    }[shell]


def _next_step(shell: str, file: Path) -> str:
    return {
        "bash": "Open a new shell. Completion needs the package bash-completion.",
        "zsh": f"Add fpath+=({file.parent}) to ~/.zshrc, before compinit. Open a new shell.",
        "fish": "Open a new shell.",
    }[shell]


@click.command(
    cls=Command,
    section="more",
    examples=[
        "kraty-admin completion bash",
        "kraty-admin completion fish --install",
    ],
)
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write the script to where the shell looks for it.")
@click.pass_context
def completion(context: click.Context, shell: str | None, install: bool) -> None:
    """Print the script that completes commands in your shell.

    Without an argument, print the script for the shell in the variable SHELL.
    """
    state = context.ensure_object(State)
    shell = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(shell) if shell in _SHELLS else None
    if kind is None:
        raise refusal("pass the shell: bash, zsh or fish")
    text = kind(context.find_root().command, {}, _NAME, _VARIABLE).source()
    if not install:
        state.out.line(text)
        return
    file = _file(shell)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    state.out.say(f"Written to {file}. {_next_step(shell, file)}")
