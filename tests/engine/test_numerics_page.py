"""The page has every rule, hyperparameter and schedule."""

import re
from pathlib import Path

import pytest

from optim_engine import OPTIMIZERS, SCHEDULES
from optim_engine.fields import field_schema

PAGE = (Path(__file__).parents[2] / "docs" / "numerics.md").read_text(encoding="utf-8")


def test_every_hyperparameter_is_in_the_table_with_its_optimizers() -> None:
    table = PAGE[PAGE.index("### Hyperparameters") : PAGE.index("**Groups.**")]
    listed = {
        name: OPTIMIZERS.keys() if where == "all" else set(re.findall(r"`(\w+)`", where))
        for name, where in re.findall(r"^\| `(\w+)`[^|]* \| ([^|]*) \|", table, re.MULTILINE)
    }
    fields = {name: field_schema(rule.settings)["properties"] for name, rule in OPTIMIZERS.items()}
    assert listed == {
        setting: {name for name, own in fields.items() if setting in own} for own in fields.values() for setting in own
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_rule_has_a_formula(optimizer: str) -> None:
    assert re.search(rf"^### (.*, )?{optimizer}(,.*)?\n\n    ", PAGE, re.MULTILINE)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_is_in_the_table_with_its_settings(kind: str) -> None:
    row = re.search(rf"^\| `{kind}`.*$", PAGE, re.MULTILINE)
    assert row
    needed = field_schema(SCHEDULES[kind]).get("required", [])
    letters = {"warmup_steps": "W", "total_steps": "T"}
    assert all(f"`{name}`" in row[0] or re.search(rf"[(, ]{letters[name]}[,)]", row[0]) for name in needed)
