"""The page says of every default and schedule what the engine does."""

import json
import re
from pathlib import Path

import pytest

from optim_engine import OPTIMIZERS, SCHEDULES, Config
from optim_engine.fields import field_schema

PAGE = (Path(__file__).parents[2] / "docs" / "numerics.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return str(value) if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_default_is_in_the_table(optimizer: str) -> None:
    section = PAGE[PAGE.index("### Defaults") : PAGE.index("**Groups.**")]
    header, _, *rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    column = [name.strip() for name in header].index(optimizer)
    written = {row[0].split("`")[1]: row[column].strip() for row in rows if row[column].strip()}
    defaults = Config.parse(optimizer).to_dict()["hyperparameters"]
    assert written == {name: shown(value) for name, value in defaults.items()}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_is_in_the_table_with_its_settings(kind: str) -> None:
    row = re.search(rf"^\| `{kind}`.*$", PAGE, re.MULTILINE)
    assert row
    needed = field_schema(SCHEDULES[kind]).get("required", [])
    letters = {"warmup_steps": "W", "total_steps": "T"}
    assert all(f"`{name}`" in row[0] or re.search(rf"[(, ]{letters[name]}[,)]", row[0]) for name in needed)
