"""Configurations: their defaults, equality, written form and schemas."""

import pytest

from optim_engine import OPTIMIZERS, SCHEDULES, Config
from optim_engine.fields import field_schema, written
from tests.engine.cases import Case, each_case
from tests.oracle_defaults import DEFAULTS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_defaults_are_those_of_the_reference(optimizer: str) -> None:
    expected = {name: list(x) if isinstance(x, tuple) else x for name, x in DEFAULTS[optimizer].items()}
    config = Config.parse(optimizer)
    assert config.effective()["hyperparameters"] == expected
    assert config.to_dict() == {
        "optimizer": optimizer,
        "hyperparameters": written(config.hyperparameters),
        "groups": [] if optimizer == "muon" else [{"match": ["*bias"], "weight_decay": 0.0}],
        "schedule": None,
        "clip": None,
        "on_non_finite": "reject",
        "hold_params": False,
    }


@each_case
def test_a_configuration_survives_writing_and_reading(case: Case) -> None:
    again = Config.parse(**case.config.to_dict())
    assert again.to_dict() == case.config.to_dict()
    assert again.hyperparameters == case.config.hyperparameters


@each_case
def test_equal_configurations_are_equal_and_hash_alike(case: Case) -> None:
    assert case.config == case.config
    assert len({case.config, case.config}) == 1
    assert case.config != Config.parse(case.optimizer, hyperparameters={"lr": 0.123})


def test_numbers_become_floats_and_pairs_become_tuples() -> None:
    h = Config.parse("adamw", hyperparameters={"lr": 1, "betas": [0, 0.5]}).hyperparameters
    assert (h.lr, type(h.lr)) == (1.0, float)
    assert h == Config.parse("adamw", hyperparameters={"lr": 1.0, "betas": (0.0, 0.5)}).hyperparameters


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizers_schema_has_its_settings_and_defaults(optimizer: str) -> None:
    schema = field_schema(OPTIMIZERS[optimizer].settings)
    defaults = {name: setting["default"] for name, setting in schema["properties"].items()}
    assert defaults == Config.parse(optimizer).effective()["hyperparameters"]
    assert schema["additionalProperties"] is False
    assert "required" not in schema


def test_a_schedules_schema_has_bounds_and_required_settings() -> None:
    schema = field_schema(SCHEDULES["cosine"])
    assert schema["required"] == ["total_steps"]
    assert schema["properties"] == {
        "start_step": {"type": "integer", "minimum": 0, "maximum": 2**53, "default": 0},
        "total_steps": {"type": "integer", "minimum": 1, "maximum": 2**53},
        "min_factor": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.0},
    }


def test_bias_correction_is_written_only_where_it_is_off() -> None:
    """The digests of sessions that are older than the setting stay."""
    for optimizer in ("adam", "adamw"):
        on, off = (Config.parse(optimizer, hyperparameters={"bias_correction": flag}) for flag in (True, False))
        assert on == Config.parse(optimizer)
        assert "bias_correction" not in on.to_dict()["hyperparameters"]
        assert off.to_dict()["hyperparameters"]["bias_correction"] is False
        assert Config.parse(**off.to_dict()).hyperparameters == off.hyperparameters
