"""Settings under which rows may be lazy, and those that are refused with a way out."""

from typing import Any

import pytest

from optim_engine import Config, InvalidConfig, State, step
from tests.engine.cases import Case
from tests.engine.row_cases import LAZY, SHAPE, config_of, drawn, table

EMB: dict[str, Any] = {"match": ["emb"], "sparse": "lazy"}


@pytest.mark.parametrize("case", LAZY, ids=lambda case: case.name)
def test_a_lazy_group_is_read_back_as_written(case: Case) -> None:
    config = config_of(case, "lazy")
    assert Config.parse(**config.to_dict()) == config
    assert config.groups[0].to_dict()["sparse"] == "lazy"


def test_a_dense_group_leaves_no_trace_in_documents() -> None:
    config = Config.parse("adamw", groups=[{"match": ["emb"], "sparse": "dense", "lr": 0.1}])
    assert config.to_dict()["groups"] == [{"match": ["emb"], "lr": 0.1}]


@pytest.mark.parametrize(
    ("optimizer", "h", "around", "words"),
    [
        ("lion", {}, {}, "because the group's optimizer takes only whole gradients"),
        ("sgd", {"momentum": 0.9}, {}, "takes rows only without momentum: set it to 0"),
        ("adam", {"weight_decay": 0.1}, {}, "set it to 0, or take adamw"),
        ("rmsprop", {"weight_decay": 0.1}, {}, "set it to 0, or take adamw"),
        ("adamw", {"cautious": True}, {}, "cautious"),
        ("adamw", {"lr": 2.0, "weight_decay": 0.5}, {}, "lr · weight_decay below 1, and it is 2 · 0.5"),
        ("adamw", {}, {"hold_params": False}, "needs `hold_params` true"),
        ("adamw", {}, {"average": {"decay": 0.9}}, "has no `average`"),
    ],
)
def test_settings_without_lazy_rows_are_refused(
    optimizer: str, h: dict[str, Any], around: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidConfig, match=words) as caught:
        Config.parse(optimizer, hyperparameters=h, groups=[EMB], **{"hold_params": True, **around})
    assert caught.value.where == "groups[0].sparse"


def test_an_unknown_kind_of_rows_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="expected one of dense, lazy"):
        Config.parse("adamw", groups=[{"match": ["emb"], "sparse": "eager"}])


def test_a_learning_rate_that_decays_all_at_once_is_refused() -> None:
    config = config_of(Case("adamw", "adamw", {"weight_decay": 0.5}), "lazy")
    state = step(config, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    rows, g = drawn(2)
    with pytest.raises(InvalidConfig, match=r"lr · weight_decay below 1, and it is 2 · 0\.5") as caught:
        step(config, state, {}, {"emb": g}, rows={"emb": rows}, lr=2.0)
    assert caught.value.where == "lr"
    assert state.array("emb", "params").shape == SHAPE
