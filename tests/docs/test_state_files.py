"""docs/state-files.md: its table of slots, and its recipe of the digest, for every rule."""

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import Client, Rows

from optim_engine import OPTIMIZERS
from optim_engine.layout import SLOTS
from tests.docs.blocks import blocks, read, rows, section
from tests.engine.cases import RULES, Case

PAGE = read("docs/state-files.md")
TABLE = {row[0].strip("`"): row[2] for row in rows(section(PAGE, "Content")) if len(row) == 3}


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.fixture(scope="module")
def digest_of() -> Callable[[bytes], str]:
    """Return the page's function, which computes the digest of a file."""
    [recipe] = blocks(section(PAGE, "The digest"), "python")
    names: dict[str, Any] = {"json": json}
    exec(recipe[: recipe.index("\nwith Client")], names)
    found: Callable[[bytes], str] = names["digest_of"]
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_the_digests_recipe_is_true_of_every_rule(
    case: Case, client: Client, digest_of: Callable[[bytes], str], tmp_path: Path
) -> None:
    session = client.sessions.create(case.optimizer, hold_params=True, **case.hyperparameters)
    wide, narrow = case.tensors(1, np.float64, {"w": (3, 5), "x": (2, 2)}), case.tensors(2, np.float16, {"h": (3,)})
    session.put_params(case.tensors(0, np.float32) | narrow | wide)
    for seed in (3, 4):
        session.step(grads=case.tensors(seed, np.float32) | narrow | wide)
    session.save_state(tmp_path / "saved")
    assert digest_of((tmp_path / "saved").read_bytes()) == session.digest


def test_the_digests_recipe_is_true_of_lazy_rows(
    client: Client, digest_of: Callable[[bytes], str], tmp_path: Path
) -> None:
    session = client.sessions.create("adamw", hold_params=True, groups=[{"match": ["emb"], "sparse": "lazy"}])
    session.put_params({"emb": np.ones((3000, 40), np.float32)})
    for indices in ([3, 17], [5, 2999]):
        session.step(grads={"emb": Rows(indices, np.ones((2, 40), np.float32))})
    session.save_state(tmp_path / "saved")
    assert digest_of((tmp_path / "saved").read_bytes()) == session.digest


def test_the_recipe_orders_the_slots_as_the_memory_does() -> None:
    [slots] = re.findall(r"^SLOTS = (\(.*?\))$", PAGE, re.MULTILINE | re.DOTALL)
    assert literal_eval(slots) == tuple(SLOTS)


def test_every_slot_has_a_row_in_order_with_its_optimizers() -> None:
    assert list(TABLE) == list(SLOTS)
    for slot in SLOTS.keys() - {"params"}:
        keeping = {name for name, rule in OPTIMIZERS.items() if slot in {kept.name for kept in rule.keeps}}
        assert named(TABLE[slot]) & OPTIMIZERS.keys() == keeping, slot


def test_every_optimizer_has_a_row_of_its_references_names() -> None:
    table = {name: row[1] for row in rows(section(PAGE, "A file made by hand")) for name in named(row[0])}
    assert table.keys() == OPTIMIZERS.keys()
    for name, rule in OPTIMIZERS.items():
        assert set(re.findall(r"→ `(\w+)`", table[name])) == {slot.name for slot in rule.keeps}
