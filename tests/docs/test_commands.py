"""The page of commands: it has every command and every exit code."""

import re

from app import cli
from app.commands.exits import Exit
from tests.docs.blocks import read, rows, section

COMMANDS = read("docs/commands.md")


def test_every_exit_code_has_a_row() -> None:
    table = {row[1].strip("`"): int(row[0]) for row in rows(section(COMMANDS, "Exit codes"))}
    assert table == {code.name: code.value for code in Exit}


def names() -> set[str]:
    """Return the commands that there are."""
    groups = {group.name: group.typer_instance for group in cli.app.registered_groups} | {None: cli.app}
    return {
        " ".join(filter(None, ("optim", group, command.name or (command.callback and command.callback.__name__))))
        for group, commands in groups.items()
        if commands is not None
        for command in commands.registered_commands
    }


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^(optim(?: [a-z]+)+)", COMMANDS, re.MULTILINE))
    assert listed == names()
