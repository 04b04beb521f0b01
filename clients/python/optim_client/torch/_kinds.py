"""The optimizers of torch: their settings, and the arrays that each keeps for a parameter. Knows no tensors.

`ENTRIES` is the table of docs/state-files.md ("A file made by hand") as data.
"""

from collections.abc import Mapping
from typing import Any

ADAM = ("lr", "betas", "eps", "weight_decay", "maximize")
HYPERPARAMETERS: Mapping[str, tuple[str, ...]] = {
    "adamw": (*ADAM, "amsgrad"),
    "adam": (*ADAM, "amsgrad", "decoupled_weight_decay"),
    "sgd": ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize"),
    "rmsprop": ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize"),
    "nadam": (*ADAM, "momentum_decay", "decoupled_weight_decay"),
    "radam": (*ADAM, "decoupled_weight_decay"),
    "adamax": ADAM,
    "adagrad": ("lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value", "maximize"),
    "adadelta": ("lr", "rho", "eps", "weight_decay", "maximize"),
    "rprop": ("lr", "etas", "step_sizes", "maximize"),
    "asgd": ("lr", "lambd", "alpha", "t0", "weight_decay", "maximize"),
    "adafactor": ("lr", "beta2_decay", "eps", "d", "weight_decay", "maximize"),
    "muon": ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn"),
}
"""By optimizer, the settings of torch's class that a session has too."""

CLASSES: Mapping[str, str] = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rprop": "Rprop",
    "asgd": "ASGD",
    "adafactor": "Adafactor",
    "muon": "Muon",
}
"""The names in `torch.optim`."""

ENTRIES: Mapping[str, Mapping[str, str]] = {
    "adamw": {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max"},
    "adam": {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max"},
    "sgd": {"momentum_buffer": "m"},
    "rmsprop": {"square_avg": "v", "grad_avg": "m", "momentum_buffer": "b"},
    "nadam": {"exp_avg": "m", "exp_avg_sq": "v", "mu_product": "mu_product"},
    "radam": {"exp_avg": "m", "exp_avg_sq": "v"},
    "adamax": {"exp_avg": "m", "exp_inf": "u"},
    "adagrad": {"sum": "v"},
    "adadelta": {"square_avg": "v", "acc_delta": "delta"},
    "rprop": {"prev": "g_last", "step_size": "step_size"},
    "asgd": {"ax": "ax"},
    "adafactor": {"row_var": "v_row", "col_var": "v_col", "variance": "v"},
    "muon": {"momentum_buffer": "m"},
}
"""By optimizer, the slot of each array that torch keeps for a parameter."""

DERIVED: Mapping[str, tuple[str, ...]] = {"asgd": ("eta", "mu")}
"""Numbers that torch keeps for a parameter although they follow from the settings and the count."""
UNCOUNTED = frozenset({"sgd", "muon"})
"""The optimizers whose states have no `step`."""
NEEDED_AT_ONCE = frozenset({"adagrad"})
"""The optimizers that keep a state before a parameter's first step."""
FLAGS: Mapping[tuple[str, str], str] = {
    ("adamw", "max_exp_avg_sq"): "amsgrad",
    ("adam", "max_exp_avg_sq"): "amsgrad",
    ("sgd", "momentum_buffer"): "momentum",
    ("rmsprop", "grad_avg"): "centered",
    ("rmsprop", "momentum_buffer"): "momentum",
}
"""The setting without which an array is not kept."""


def kinds_of(group: Mapping[str, Any]) -> frozenset[str]:
    """Return the optimizers whose settings a group of `param_groups` has: one, or none that is known here.

    An `Adam` with `decoupled_weight_decay` is an `AdamW`. Before torch 2.6, groups do not tell which of the two it is.
    """
    if group.keys() >= {*ADAM, "amsgrad"} and "decoupled_weight_decay" not in group:
        return frozenset({"adam", "adamw"})
    fitting = [name for name, settings in HYPERPARAMETERS.items() if name != "adamw" and group.keys() >= {*settings}]
    kind = max(fitting, key=lambda name: len(HYPERPARAMETERS[name]), default=None)
    if kind == "adam" and group["decoupled_weight_decay"]:
        return frozenset({"adamw"})
    return frozenset({kind} if kind else ())


def entries_of(kind: str, group: Mapping[str, Any], dimensions: int) -> dict[str, str]:
    """Return the arrays that torch keeps for a parameter of that group, each with its slot."""
    factored = {"row_var", "col_var"} if dimensions > 1 else {"variance"}
    return {
        name: slot
        for name, slot in ENTRIES[kind].items()
        if (kind != "adafactor" or name in factored) and ((kind, name) not in FLAGS or group[FLAGS[kind, name]])
    }


def derived(group: Mapping[str, Any], step: int) -> dict[str, float]:
    """Return ASGD's numbers after that many steps: the rate η of the next one, and the weight μ of its average."""
    lr, lambd = float(group["lr"]), float(group["lambd"])
    eta = lr / float((1 + lambd * lr * step) ** float(group["alpha"]))
    return {"eta": eta, "mu": 1 / max(1.0, step - float(group["t0"]))}
