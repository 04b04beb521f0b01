"""The screen of the demo, on a terminal and without one."""

import io
import re
from pathlib import Path

import pytest
from optim_client import Client
from rich.console import Console

from app.demo import network
from app.demo.display import Display
from app.demo.remote import RemoteRun
from app.demo.server import Server
from app.demo.training import Point

STEPS = 60


@pytest.mark.long
def test_a_run_without_a_terminal_prints_plain_lines(temporary: Path) -> None:
    screen = io.StringIO()
    display = Display(Console(file=screen, force_terminal=False), STEPS)
    with Server() as server, Client(server.url) as client, display:
        RemoteRun(client, STEPS, display.show).until(STEPS)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 6
    assert all(re.fullmatch(r"step +\d+/60 +loss \d\.\d{4} +accuracy [01]\.\d{3} +\d+ steps/s", line) for line in lines)


def test_a_terminal_shows_a_bar_below_the_lines() -> None:
    screen = io.StringIO()
    with Display(Console(file=screen, force_terminal=True, width=120), STEPS) as display:
        display.say("session", "s-1")
        display.show(Point(30, 0.5, network.init()), 0.75)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert re.search(r"session +s-1\n", shown)
    assert re.search(r"step +\S+ +30/60 loss 0\.5000 +accuracy 0\.750 +\d+ steps/s", shown)


def test_a_name_or_text_with_brackets_is_no_markup() -> None:
    screen = io.StringIO()
    Display(Console(file=screen, force_terminal=False), STEPS).say("a", "[bold]b[/bold]")
    assert screen.getvalue() == "a         [bold]b[/bold]\n"
