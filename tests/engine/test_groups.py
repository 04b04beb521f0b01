"""Groups: which hyperparameters a tensor has, by its name."""

from typing import Any

import pytest

from optim_engine import OPTIMIZERS, Config, InvalidConfig
from tests.oracle_defaults import DEFAULTS

NAMES = {"w": None, "layer.bias": None, "BIAS": None, "bias2": None}


def test_without_groups_names_ending_in_bias_get_no_decay() -> None:
    config = Config.parse("adamw")
    decays = {name: config.hyperparameters_of(config.group_of(name)).weight_decay for name in NAMES}
    assert decays == {"w": 0.01, "layer.bias": 0.0, "BIAS": 0.01, "bias2": 0.01}


def test_a_group_is_written_as_it_is_read() -> None:
    groups = [{"match": ["a", "b*"], "betas": [0.5, 0.9], "lr": 1.0}]
    assert Config.parse("adam", groups=groups).to_dict()["groups"] == groups


def test_a_group_with_an_optimizer_has_that_rules_defaults() -> None:
    groups = [
        {"match": ["*.weight"], "optimizer": "muon", "name": "matrices", "lr": 0.02},
        {"match": ["emb*"], "optimizer": "adamw"},
        {"match": ["head*"], "eps": 0.5},
    ]
    config = Config.parse("adamw", hyperparameters={"lr": 0.5, "weight_decay": 0.5, "eps": 0.1}, groups=groups)
    assert config.to_dict()["groups"] == groups
    names = ["a.weight", "emb.0", "head", "gain"]
    assert config.optimizers_of(names) == dict(zip(names, ("muon", "adamw", "adamw", "adamw"), strict=True))
    found = [config.hyperparameters_of(config.group_of(name)) for name in names]
    assert [(h.lr, h.weight_decay) for h in found] == [(0.02, 0.1), (0.001, 0.01), (0.5, 0.5), (0.5, 0.5)]
    assert [h.eps for h in found] == [1e-7, 1e-8, 0.5, 0.1]  # type: ignore[attr-defined]


def test_an_empty_list_of_groups_decays_everything() -> None:
    config = Config.parse("adamw", groups=[])
    assert {config.group_of(name) for name in NAMES} == {None}


def test_only_the_first_matching_group_applies() -> None:
    groups = [{"match": ["layer.*"], "lr": 0.5}, {"match": ["*bias"], "weight_decay": 0}]
    config = Config.parse("adamw", groups=groups)
    h = config.hyperparameters_of(config.group_of("layer.bias"))
    assert (h.lr, h.weight_decay) == (0.5, 0.01)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*bias", "bias", True),
        ("bias", "layer.bias", False),
        ("layer.?.w", "layer.1.w", True),
        ("layer.?.w", "layer.10.w", False),
        ("layer.[12].w", "layer.2.w", True),
        ("layer.[!12].w", "layer.2.w", False),
        ("*", "", True),
        ("Layer*", "layer", False),
        ("a/*", "a/b/c", True),
        ("*", "line\nbreak", True),
        ("überall", "überall", True),
    ],
)
def test_a_pattern_matches_the_whole_name_and_its_case(pattern: str, name: str, matches: bool) -> None:
    assert Config.parse("sgd", groups=[{"match": [pattern]}]).group_of(name) == (0 if matches else None)


def test_a_pattern_that_matches_no_tensor_is_reported() -> None:
    config = Config.parse("adamw", groups=[{"match": ["*bias", "*norm*"]}, {"match": ["head.*"]}])
    assert config.unmatched({}) == []
    assert config.unmatched({"layer.bias": None, "w": None}) == ["*norm*", "head.*"]
    assert Config.parse("adamw").unmatched({"w": None}) == []


NO_PATTERNS = 'groups[0].match: must be a list of patterns, such as ["*bias"], not'
ADAMW = "lr, weight_decay, maximize, betas, eps, amsgrad, bias_correction, cautious"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"groups": {}}, "groups: must be a list of objects, each with `match` and hyperparameters, not an object"),
    ({"groups": ["*bias"]}, "groups[0]: must be an object with `match` and hyperparameters, not '*bias'"),
    ({"groups": [{"lr": 1}]}, 'groups[0].match: is required: a list of patterns, such as ["*bias"]'),
    ({"groups": [{"match": "*bias"}]}, f"{NO_PATTERNS} '*bias'"),
    ({"groups": [{"match": []}]}, f"{NO_PATTERNS} an empty list"),
    ({"groups": [{"match": [""]}]}, f"{NO_PATTERNS} a list with ''"),
    ({"groups": [{"match": ["*"]}] * 257}, "groups: 257 groups; the limit is 256"),
    ({"groups": [{"match": ["*"] * 200}] * 2}, "groups: 400 patterns in all groups; the limit is 256"),
    ({"groups": [{"match": ["*" * 1025]}]}, "groups[0].match: a pattern has 1025 characters; the limit is 1024"),
    ({"groups": [{"match": ["*", 1]}]}, f"{NO_PATTERNS} a list with 1"),
    (
        {"groups": [{"match": ["*"]}, {"match": ["w"], "lr": -1}]},
        "groups[1].lr: -1 is out of range: finite, at least 0",
    ),
    (
        {"groups": [{"match": ["*"], "optimizer": "adamx"}]},
        f"groups[0].optimizer: 'adamx' is unknown; expected one of {', '.join(OPTIMIZERS)}",
    ),
    (
        {"groups": [{"match": ["*"], "name": ""}]},
        "groups[0].name: must be a text of 1 to 64 characters, not 0 characters",
    ),
    (
        {"groups": [{"match": ["*"], "name": "a" * 65}]},
        "groups[0].name: must be a text of 1 to 64 characters, not 65 characters",
    ),
    ({"groups": [{"match": ["*"], "sparse": ""}]}, "groups[0].sparse: '' is unknown; expected one of dense, lazy"),
    ({"groups": [{"match": ["*"], "name": 1}]}, "groups[0].name: must be a text of 1 to 64 characters, not 1"),
    (
        {"groups": [{"match": ["*"], "name": "-1"}]},
        "groups[0].name: '-1' looks like the index of a group; give it a letter",
    ),
    (
        {"groups": [{"match": ["*"], "name": " 1"}]},
        "groups[0].name: ' 1' looks like the index of a group; give it a letter",
    ),
    (
        {"groups": [{"match": ["a"], "name": "x"}, {"match": ["b"]}, {"match": ["c"], "name": "x"}]},
        "groups[2].name: 'x' is the name of groups[0] too; names must differ",
    ),
    (
        {"groups": [{"match": ["*"], "optimizer": "muon", "betas": [0.9, 0.95]}]},
        f"groups[0].betas: unknown setting 'betas'; expected one of {', '.join(DEFAULTS['muon'])}",
    ),
    (
        {"groups": [{"match": ["*"], "momentum": 0.9}]},
        f"groups[0].momentum: unknown setting 'momentum'; expected one of {ADAMW}",
    ),
    (
        {
            "optimizer": "sgd",
            "hyperparameters": {"nesterov": True, "momentum": 0.9},
            "groups": [{"match": ["*"], "momentum": 0}],
        },
        "groups[0].nesterov: needs a momentum above 0 and a dampening of 0; they are 0 and 0",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda x: x.split(":")[0] if isinstance(x, str) else "")
def test_a_refusal_names_place_value_and_way_out(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        Config.parse(**{"optimizer": "adamw", **given})
    assert str(refused.value) == message
