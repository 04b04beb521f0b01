"""The rules with a fused loop, and the coefficients that it gets."""

import subprocess
import sys

import pytest

from optim_engine import OPTIMIZERS, Config
from optim_engine.fused_forms import form_of, has_loop
from optim_engine.walk import Update
from tests.engine.cases import RULES, Case


def update(case: Case, t: int = 1) -> Update:
    return Update(case.config.rule_of(None), case.config.hyperparameters, t, 0.01, 1.0, None, (1,))


def test_the_rules_with_a_loop_are_these() -> None:
    found = {name for name, rule in OPTIMIZERS.items() if has_loop(rule.settings())}
    assert found == {"adam", "adamw", "sgd", "rmsprop"}


@pytest.mark.parametrize("case", [case for case in RULES if has_loop(case.config.hyperparameters)])
def test_a_form_has_the_slots_of_its_rule(case: Case) -> None:
    form = form_of(update(case))
    assert {slot for slot in form.slots if slot} == set(
        case.config.rule_of(None).slots(case.config.hyperparameters, (1,))
    )


def test_the_first_momentum_is_the_gradient_itself() -> None:
    [case] = [case for case in RULES if case.name == "sgd_nesterov"]
    assert [form_of(update(case, t)).flags for t in (1, 2)] == [(True, True), (False, True)]
    assert form_of(update(case)).numbers == (case.config.hyperparameters.momentum, 1.0, 0.01)  # type: ignore[attr-defined]


def test_a_rule_without_a_loop_has_no_form() -> None:
    config = Config.parse("nadam")
    assert not has_loop(config.hyperparameters)
    with pytest.raises(KeyError):
        form_of(Update(config.rule_of(None), config.hyperparameters, 1, 0.01, 1.0, None, (1,)))


def test_the_table_is_read_without_numba() -> None:
    program = "import sys, optim_engine.fused_forms; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
