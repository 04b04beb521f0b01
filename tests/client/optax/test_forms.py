"""The forms of optax's states: one for each rule that both have, and a reason for each other one."""

import pytest
from optim_client.optax._forms import BESIDE, FORMS, check_rule, form_of, form_of_fields

from optim_engine import OPTIMIZERS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_rule_has_forms_or_a_reason(optimizer: str) -> None:
    if optimizer not in FORMS:
        with pytest.raises(ValueError, match=r"(optax|PyTorch).*\. Move it as a state file"):
            check_rule(optimizer, {})
        return
    check_rule(optimizer, {})
    kept = {slot.name for slot in OPTIMIZERS[optimizer].keeps} - {"v_max", "b"} - BESIDE
    assert max((set(form.fields) for form in FORMS[optimizer]), key=len) == kept


@pytest.mark.parametrize("optimizer", FORMS)
def test_a_form_is_found_by_slots_and_by_fields(optimizer: str) -> None:
    for form in FORMS[optimizer]:
        assert form_of(optimizer, form.fields.keys() | {"params"}) is form
        assert form_of_fields(optimizer, [*form.fields.values(), "update"]) is form


@pytest.mark.parametrize(
    ("optimizer", "slots", "why"),
    [
        ("adamw", ["m", "v", "v_max"], "takes the maximum of the corrected v"),
        ("rmsprop", ["v", "b"], "includes the learning rates"),
        ("adamw", ["m", "v", "row_steps"], "no lazy rows"),
        ("lamb", ["m"], r"lamb has the arrays \(m\); expected \(m, v\)"),
        ("rmsprop", ["m"], r"expected \(v\) or \(m, v\)"),
    ],
)
def test_slots_that_optax_lacks_are_refused(optimizer: str, slots: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        form_of(optimizer, slots)


@pytest.mark.parametrize(
    ("optimizer", "setting"),
    [("sgd", {"dampening": 0.1}), ("yogi", {"bias_correction": False}), ("lion", {"cautious": True})],
)
def test_settings_that_optax_lacks_are_refused(optimizer: str, setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="optax"):
        check_rule(optimizer, setting)
