"""The README: its commands, numbers and tables are true."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields

import pytest

from optim_engine import OPTIMIZERS, SCHEDULES
from optim_engine.fields import field_schema
from tests.docs.blocks import ROOT, blocks, read, rows, section

README = read("README.md")
OPTIMIZERS_AND_SCHEDULES = section(README, "Optimizers and schedules")


def test_the_curl_lines_give_the_numbers_that_are_printed(here: Callable[[str], str], path: str) -> None:
    lines = section(README, "Train with curl")
    script = "\necho\n".join(blocks(lines, "sh"))
    result = subprocess.run(
        ["sh", "-euc", here(script)], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in result.stdout.splitlines() if line]
    printed = [json.loads(block) for block in blocks(lines, "json")]
    assert len(printed) == 2
    assert answers == printed


def test_a_step_that_is_sent_again_gives_the_same_bytes(here: Callable[[str], str], path: str) -> None:
    create, _, second = blocks(section(README, "Train with curl"), "sh")
    second = second.replace('"step": 2', '"step": 1')
    script = f"{create}\n{second}\necho\n{second}\necho\ncurl -s $URL/v1/sessions/$ID"
    result = subprocess.run(
        ["sh", "-euc", here(script)], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    once, again, session = result.stdout.splitlines()
    assert once == again
    assert json.loads(session)["step"] == 1


@pytest.mark.long
def test_the_loop_prints_what_is_printed(here: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    (loop,) = blocks(section(README, "Train in Python"), "python")
    (printed,) = blocks(section(README, "Train in Python"), "text")
    exec(here(loop), {})
    assert capsys.readouterr().out == printed


def test_the_loop_does_the_same_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    (loop,) = blocks(section(README, "Train in Python"), "python")
    (printed,) = blocks(section(README, "Train in Python"), "text")
    exec(loop.replace("http://127.0.0.1:8000", "memory:"), {})
    assert capsys.readouterr().out == printed


def test_the_optimizers_are_those_that_there_are_with_their_defaults() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(OPTIMIZERS_AND_SCHEDULES) if len(row) == 2}
    assert table.keys() == OPTIMIZERS.keys()
    for name, rule in OPTIMIZERS.items():
        found = re.findall(r"`(\w+)` (\[.*?\]|[^,]+)", table[name])
        defaults = {setting: schema["default"] for setting, schema in field_schema(rule.settings)["properties"].items()}
        assert {setting: json.loads(value) for setting, value in found} == defaults


def test_the_schedules_are_those_that_there_are_with_their_settings() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(OPTIMIZERS_AND_SCHEDULES) if len(row) == 3}
    assert table.keys() == SCHEDULES.keys()
    for name, kind in SCHEDULES.items():
        assert re.findall(r"`(\w+)`", table[name]) == [f.name for f in fields(kind) if f.name != "start_step"]
    assert "`start_step`" in README


def test_every_make_target_that_is_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake (\w+)", "\n".join(re.findall(r"`[^`\n]+`", README) + blocks(README, "sh"))))
    assert named >= {"demo", "test", "serve"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
