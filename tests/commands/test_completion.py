"""Completion in shells: of commands, flags and the ids of sessions; bash itself asks, the others as they do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.service import new_session

BASH = """
PATH="$1:$PATH"
eval "$(optim --show-completion)"
COMP_WORDS=(${@:2})
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_optim_completion optim
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the command."""
    command = tmp_path / "optim"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offered"),
    [("optim ser", "serve"), ("optim sessions und", "undo"), ("optim serve --lmdb-s", "--lmdb-sync")],
)
def test_bash_completes_commands_and_flags(folder: Path, words: str, offered: str) -> None:
    command = ["bash", "-c", BASH, "bash", str(folder), *words.split()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [offered]


def asked(**environment: str) -> list[str]:
    """Return what the command offers a shell that asks with these variables."""
    command = [sys.executable, "-m", "app.cli"]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    ).stdout.split()


@pytest.mark.parametrize(
    ("shell", "action"), [("zsh", {}), ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})], ids=["zsh", "fish"]
)
def test_zsh_and_fish_get_commands_with_their_help(shell: str, action: dict[str, str]) -> None:
    offered = " ".join(asked(_OPTIM_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS="optim ser", **action))
    assert "serve" in offered
    assert "Run the service" in offered


@pytest.mark.long
def test_ids_of_the_service_are_completed(url: str) -> None:
    session_id = new_session(url)
    words = {"COMP_WORDS": f"optim workers {session_id[:9]}", "COMP_CWORD": "2", "_OPTIM_COMPLETE": "complete_bash"}
    assert asked(**words, OPTIM_BASE_URL=url) == [session_id]
    assert asked(**words, OPTIM_BASE_URL="http://127.0.0.1:1") == []
