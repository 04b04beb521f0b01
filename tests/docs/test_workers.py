"""docs/workers.md: its lines of curl, tables and pictures are true."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from typing import get_args

import pytest

from app.commands.workers import COLUMNS
from app.errors import ERRORS
from app.routes.rounds import REFUSED
from app.worker_settings import MODES
from app.workers.entry import Reason
from docs.images.make_workers_pictures import pictures
from optim_engine.aggregate import Kind
from optim_engine.fields import field_schema
from tests.docs.blocks import ROOT, blocks, read, rows, section

PAGE = read("docs/workers.md")
TRY = section(PAGE, "Try it with curl")


@pytest.mark.long
def test_the_curl_lines_of_workers_give_what_is_printed(here: Callable[[str], str], path: str) -> None:
    script = "\necho\n".join(blocks(TRY, "sh"))
    result = subprocess.run(
        ["sh", "-euc", here(script)], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    printed = [json.loads(block) for block in blocks(TRY, "json")]
    assert len(printed) == 3
    assert [json.loads(line) for line in result.stdout.splitlines() if line] == printed


def test_the_python_lines_of_workers_print_what_is_printed(
    here: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    (lines,) = blocks(section(PAGE, "In Python"), "python")
    (printed,) = blocks(section(PAGE, "In Python"), "text")
    exec(here(lines), {})
    assert capsys.readouterr().out == printed


def test_the_shown_table_of_workers_has_the_commands_columns() -> None:
    (shown,) = blocks(section(PAGE, "See what happens"), "text")
    table = [re.split(" {2,}", line) for line in shown.splitlines() if not line.startswith(("round", "  "))]
    assert table[0] == [column.name for column in COLUMNS]
    assert {len(row) for row in table} == {len(COLUMNS)}


def test_the_pictures_are_those_of_their_script() -> None:
    for name, picture in pictures().items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == picture
        assert f"](images/{name})" in PAGE


def test_the_settings_have_a_row_each_with_their_defaults() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section(PAGE, "Settings"))}
    settings = {mode: field_schema(kind)["properties"] for mode, kind in MODES.items()}
    beside = {"mode", "max_norm", "trim"}
    assert table.keys() | beside == beside.union(*settings.values())
    assert table["max_staleness"] == " in `async` ".join(
        f"{settings[mode]['max_staleness']['default']}{',' * (mode == 'rounds')}" for mode in MODES
    )
    for fields in settings.values():
        for name in fields.keys() - beside - {"max_staleness"}:
            assert table[name].strip("`") == str(fields[name]["default"]).removesuffix(".0")


def test_the_fates_and_aggregates_are_those_that_there_are() -> None:
    fates = [(row[0].strip("`"), row[1].strip("`")) for row in rows(section(PAGE, "Fates"))]
    assert fates == [("applied", ""), *(("dropped", reason) for reason in get_args(Reason))]
    assert [row[0].strip("`") for row in rows(section(PAGE, "Aggregates"))] == list(get_args(Kind))


def test_every_refusal_of_workers_has_its_way_out() -> None:
    named = set(
        re.findall(r"`([a-z_]+)`", "".join(row[0] for row in rows(section(PAGE, "What to do after each answer"))))
    )
    of_workers = {code for code in REFUSED if ERRORS[code].status == 409} - {"session_busy"}
    assert named <= ERRORS.keys()
    assert named >= of_workers | {"contribution_mismatch", "non_finite", "tensor_mismatch", "quota_exceeded"}
