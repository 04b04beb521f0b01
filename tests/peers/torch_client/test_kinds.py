"""The table of torch's optimizers against torch itself, and against the documents."""

import re

import pytest
import torch
from optim_client.torch._kinds import CLASSES, ENTRIES, HYPERPARAMETERS, kinds_of

from optim_engine import OPTIMIZERS
from optim_engine.fields import field_schema
from tests.docs.blocks import read, rows, section
from tests.peers.test_torch import OPTIMIZERS as THEIRS

TABLE = list(rows(section(read("docs/state-files.md"), "A file made by hand")))


def defaults(kind: str) -> dict[str, object]:
    return dict(THEIRS[kind]([torch.nn.Parameter(torch.ones(1, 1))]).defaults)


@pytest.mark.parametrize("kind", ENTRIES)
def test_the_documents_have_the_same_names(kind: str) -> None:
    [row] = [row[1] for row in TABLE if kind in re.findall(r"\w+", row[0])]
    assert dict(re.findall(r"`(\w+)[^`]*`(?: \([^)]*\))? → `(\w+)`", row)) == ENTRIES[kind]


def test_every_rule_of_torch_has_a_row() -> None:
    known = {name for name, rule in OPTIMIZERS.items() if rule.reference == "torch 2.13"}
    assert known == ENTRIES.keys() == HYPERPARAMETERS.keys() == CLASSES.keys()


@pytest.mark.parametrize("kind", CLASSES)
def test_the_settings_are_those_that_both_have(kind: str) -> None:
    assert getattr(torch.optim, CLASSES[kind]) is THEIRS[kind]
    ours = field_schema(OPTIMIZERS[kind].settings)["properties"].keys()
    assert {*HYPERPARAMETERS[kind]} == ours & defaults(kind).keys()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_group_tells_its_optimizer(kind: str) -> None:
    assert kinds_of({**defaults(kind), "initial_lr": 0.1, "max_lr": 1.0}) == {kind}


def test_an_old_group_of_adam_may_be_either() -> None:
    group = defaults("adamw")
    del group["decoupled_weight_decay"]
    assert kinds_of(group) == {"adam", "adamw"}


@pytest.mark.parametrize("other", [torch.optim.LBFGS, torch.optim.SparseAdam])
def test_other_optimizers_of_torch_are_unknown(other: type[torch.optim.Optimizer]) -> None:
    group = other([torch.nn.Parameter(torch.ones(1))]).state_dict()["param_groups"][0]  # type: ignore[call-arg]
    assert not kinds_of(group)
