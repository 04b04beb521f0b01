"""The states of optax that hold the same numbers as the slots of the service, rule by rule, and those that do not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Form:
    """A state of optax.

    `state` is its class, `fields` has optax's name of each slot, `counts` are its numbers of updates. In a `negated`
    one the arrays have the other sign.
    """

    state: str
    fields: Mapping[str, str]
    counts: tuple[str, ...] = ()
    negated: bool = False

    def turned(self, slot: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return the array of a slot with the sign that the other side has."""
        return -array if self.negated and slot in self.fields else array


NOTHING = Form("EmptyState", {})
"""The form of a tensor that has taken no step."""
ADAM = Form("ScaleByAdamState", {"m": "mu", "v": "nu"}, ("count",))

FORMS: Mapping[str, tuple[Form, ...]] = {
    "adabelief": (Form("ScaleByBeliefState", {"m": "mu", "v": "nu"}, ("count",)),),
    "adadelta": (Form("ScaleByAdaDeltaState", {"v": "e_g", "delta": "e_x"}),),
    "adagrad": (Form("ScaleByRssState", {"v": "sum_of_squares"}),),
    "adam": (ADAM,),
    "adamax": (Form("ScaleByAdamState", {"m": "mu", "u": "nu"}, ("count",)),),
    "adamw": (ADAM,),
    "adan": (Form("ScaleByAdanState", {"m": "m", "v": "v", "n": "n", "g_last": "g"}, ("t",)),),
    "ademamix": (Form("ScaleByAdemamixState", {"m": "m1", "m_slow": "m2", "v": "nu"}, ("count", "count_m2")),),
    "lamb": (ADAM,),
    "lars": (Form("TraceState", {"m": "trace"}, negated=True),),
    "lion": (Form("ScaleByLionState", {"m": "mu"}, ("count",)),),
    "radam": (ADAM,),
    "rmsprop": (Form("ScaleByRmsState", {"v": "nu"}), Form("ScaleByRStdDevState", {"m": "mu", "v": "nu"})),
    "sgd": (Form("TraceState", {"m": "trace"}), NOTHING),
    "yogi": (ADAM,),
}
"""The forms of a rule, one for each set of slots that it may have."""

BESIDE = frozenset({"average", "params", "update"})
"""The slots that are no part of optax's state."""
KEEPS_UPDATE = frozenset({"adadelta", "lion"})
"""The rules that have `update`, where the session does not hold its parameters."""

_NO_SUCH_RULE = "optax has no such rule"
_NUMBERS = "optax keeps its numbers in the parameters' dtype, the service in float64"
_UNLIKE = {
    "adafactor": "optax factors the two largest dimensions, and only large ones; the service, as PyTorch, the last two",
    "asgd": _NO_SUCH_RULE,
    "muon": "optax corrects the momentum's bias before it makes it orthogonal; the service, as PyTorch, does not",
    "nadam": "optax has no momentum decay; the service, as PyTorch, has",
    "prodigy": _NUMBERS,
    "rprop": "optax moves each parameter by the update before; the service, as PyTorch, by this one",
    "schedule_free_adamw": _NUMBERS,
    "schedule_free_sgd": _NUMBERS,
    "stable_adamw": _NO_SUCH_RULE,
}
_UNLIKE_SLOTS = {
    "v_max": "AMSGrad of optax takes the maximum of the corrected v; the service, as PyTorch, that of v itself, and "
    "corrects it afterwards. Neither can go on from the other's",
    "b": "optax's momentum of RMSprop includes the learning rates of past steps; the service's, as PyTorch's, does not",
    "row_steps": "optax has no lazy rows",
}
_UNLIKE_SETTINGS = {
    "bias_correction": (True, "optax always corrects the bias"),
    "cautious": (False, "optax has no such flag"),
    "dampening": (0, "optax has no dampening"),
}
"""Hyperparameters that change the moments' meaning or the rule: the value that optax has, and why no other."""

WAY_OUT = "Move it as a state file (safetensors) instead"


def check_rule(optimizer: str, hyperparameters: Mapping[str, object]) -> None:
    """Raise `ValueError` unless optax has the rule, with these hyperparameters."""
    if optimizer not in FORMS:
        why = _UNLIKE.get(optimizer, f"unknown optimizer; expected one of {', '.join(FORMS)}")
        raise ValueError(f"{optimizer} cannot be a state of optax: {why}. {WAY_OUT}")
    for setting, (same, why) in _UNLIKE_SETTINGS.items():
        if hyperparameters.get(setting, same) != same:
            raise ValueError(f"{optimizer} with {setting} cannot be a state of optax: {why}. {WAY_OUT}")


def form_of(optimizer: str, slots: Collection[str]) -> Form:
    """Return the form of the slots of a tensor that has taken steps. Raises `ValueError`."""
    for slot in slots:
        if slot in _UNLIKE_SLOTS:
            raise ValueError(f"{optimizer} with {slot!r} cannot be a state of optax: {_UNLIKE_SLOTS[slot]}. {WAY_OUT}")
    return _fitting(optimizer, slots, {frozenset(form.fields): form for form in FORMS[optimizer]})


def form_of_fields(optimizer: str, fields: Collection[str]) -> Form:
    """Return the form that has these fields, which are optax's names. Raises `ValueError`."""
    return _fitting(optimizer, fields, {frozenset(form.fields.values()): form for form in FORMS[optimizer]})


def _fitting(optimizer: str, names: Collection[str], forms: Mapping[frozenset[str], Form]) -> Form:
    kept = frozenset(names) - BESIDE
    if kept in forms:
        return forms[kept]
    expected = " or ".join(f"({', '.join(sorted(fields))})" for fields in forms)
    raise ValueError(f"{optimizer} has the arrays ({', '.join(sorted(kept))}); expected {expected}")
