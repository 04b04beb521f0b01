"""Groups: which hyperparameters a tensor has, by its name."""

import pytest

from optim_engine import Config

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
