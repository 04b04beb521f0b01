"""The good configurations, listed once: every test that is about all rules runs over all of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import OPTIMIZERS, Config
from optim_engine.aggregate import Aggregate
from optim_engine.arrays import Array
from optim_engine.fused_forms import has_loop
from optim_engine.machine import NUMPY, Machine, fastest
from tests.amounts import WHOLE as WHOLE_RUN
from tests.oracle_defaults import DEFAULTS

DTYPES: Mapping[str, type[Any]] = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}

HALVES = ("float16", "bfloat16")
SHAPES = {"layer.weight": (3, 4), "layer.bias": (4,), "gain": ()}
"""One tensor in the default group without decay, and one that is a single number."""
WITH_LARGE = {**SHAPES, "large": (300, 1000)}

AGGREGATES = [
    Aggregate("mean"),
    Aggregate("mean_of_sums"),
    Aggregate("clipped_mean", max_norm=0.5),
    Aggregate("median"),
    Aggregate("trimmed_mean", trim=0.25),
]


@dataclass(frozen=True)
class Case:
    """A configuration as it stands in a request."""

    name: str
    optimizer: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)
    """The settings around the rule: groups, schedule, clip."""

    @property
    def config(self) -> Config:
        return Config.parse(self.optimizer, hyperparameters=self.hyperparameters, **self.around)

    def shaped(self, array: Array) -> Array:
        """Return the array in a shape that its rule takes: it may take matrices alone."""
        if not OPTIMIZERS[self.optimizer].refusal(array.shape):
            return array
        rows = next(count for count in (7, 5, 3, 2, 1) if array.size % count == 0)
        return array.reshape(rows, array.size // rows)

    def tensors(
        self, seed: int, dtype: type[Any], shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, Array]:
        """Return tensors like `tensors` in shapes that its rule takes."""
        made = tensors(seed, dtype, SHAPES if shapes is None else shapes)
        return {name: self.shaped(array) for name, array in made.items()}

    def settings_of(self, tensor: str) -> dict[str, Any]:
        """Return the hyperparameters of the tensor by the contract."""
        default = [] if self.optimizer == "muon" else [{"match": ["*bias"], "weight_decay": 0.0}]
        groups = self.around.get("groups", default)
        matched = {"*bias": tensor.endswith("bias"), "layer.*": tensor.startswith("layer."), "gain": tensor == "gain"}
        overrides = [group for group in groups if any(matched[pattern] for pattern in group["match"])]
        return {**DEFAULTS[self.optimizer], **self.hyperparameters, **(overrides[0] if overrides else {})}


RULES = [
    Case("adamw", "adamw"),
    Case("adamw_without_decay", "adamw", {"weight_decay": 0}),
    Case("adamw_large_decay", "adamw", {"weight_decay": 3.0, "lr": 0.1}),
    Case("adamw_short_memory", "adamw", {"betas": [0.5, 0.7]}),
    Case("adamw_without_memory", "adamw", {"betas": [0.0, 0.0]}),
    Case("adamw_large_eps", "adamw", {"eps": 0.1}),
    Case("adamw_maximize", "adamw", {"maximize": True}),
    Case("adamw_amsgrad", "adamw", {"amsgrad": True, "betas": [0.9, 0.5]}),
    Case("adamw_amsgrad_maximize", "adamw", {"amsgrad": True, "maximize": True}),
    Case("adamw_uncorrected", "adamw", {"bias_correction": False}),
    Case("adam", "adam"),
    Case("adam_decay", "adam", {"weight_decay": 0.1, "lr": 0.02, "eps": 1e-3}),
    Case("adam_decoupled_decay", "adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("adam_amsgrad", "adam", {"amsgrad": True, "betas": [0.9, 0.5]}),
    Case("adam_all", "adam", {"amsgrad": True, "maximize": True, "weight_decay": 0.1, "betas": [0.8, 0.9]}),
    Case("adam_uncorrected", "adam", {"bias_correction": False, "amsgrad": True, "weight_decay": 0.1}),
    Case("adamw_cautious", "adamw", {"cautious": True, "lr": 0.01}),
    Case("adam_cautious", "adam", {"cautious": True, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    Case("sgd", "sgd"),
    Case("sgd_decay", "sgd", {"weight_decay": 0.1, "lr": 0.1}),
    Case("sgd_maximize", "sgd", {"maximize": True}),
    Case("sgd_momentum", "sgd", {"momentum": 0.9}),
    Case("sgd_dampening", "sgd", {"momentum": 0.9, "dampening": 0.5}),
    Case("sgd_nesterov", "sgd", {"momentum": 0.9, "nesterov": True}),
    Case("sgd_nesterov_all", "sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    Case("sgd_dampening_all", "sgd", {"momentum": 0.8, "dampening": 0.2, "weight_decay": 0.1, "maximize": True}),
    Case("rmsprop", "rmsprop"),
    Case("rmsprop_short_memory", "rmsprop", {"alpha": 0.5, "eps": 1e-3, "lr": 0.001}),
    Case("rmsprop_decay", "rmsprop", {"weight_decay": 0.1}),
    Case("rmsprop_maximize", "rmsprop", {"maximize": True}),
    Case("rmsprop_momentum", "rmsprop", {"momentum": 0.9}),
    Case("rmsprop_centered", "rmsprop", {"centered": True}),
    Case("rmsprop_all", "rmsprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    Case("nadam", "nadam"),
    Case("nadam_decay", "nadam", {"weight_decay": 0.1, "lr": 0.01, "eps": 1e-3}),
    Case("nadam_decoupled_decay", "nadam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("nadam_all", "nadam", {"maximize": True, "weight_decay": 0.1, "betas": [0.8, 0.9], "momentum_decay": 0.1}),
    Case("nadam_cautious", "nadam", {"cautious": True, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("adafactor", "adafactor"),
    Case("adafactor_decay", "adafactor", {"weight_decay": 0.1, "lr": 0.1}),
    Case("adafactor_all", "adafactor", {"maximize": True, "eps": [0.5, 0.1], "d": 1.5, "beta2_decay": -0.5}),
    Case("muon", "muon"),
    Case("muon_momentum", "muon", {"momentum": 0.5, "nesterov": False, "weight_decay": 0.0}),
    Case("muon_all", "muon", {"ns_coefficients": [2, -1.5, 0.5], "ns_steps": 8, "eps": 0.1, "lr": 0.1}),
    Case("muon_match", "muon", {"adjust_lr_fn": "match_rms_adamw"}),
    Case("radam", "radam"),
    Case("radam_decay", "radam", {"weight_decay": 0.1, "lr": 0.01, "eps": 1e-3}),
    Case("radam_decoupled_decay", "radam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    Case("radam_all", "radam", {"maximize": True, "weight_decay": 0.1, "betas": [0.8, 0.95]}),
    Case("radam_short_memory", "radam", {"betas": [0.5, 0.6]}),
    Case("adamax", "adamax"),
    Case("adamax_large_eps", "adamax", {"eps": 0.5, "lr": 0.1}),
    Case("adamax_all", "adamax", {"maximize": True, "weight_decay": 0.1, "betas": [0.8, 0.9]}),
    Case("adagrad", "adagrad"),
    Case("adagrad_decay", "adagrad", {"weight_decay": 0.1, "lr": 0.1, "lr_decay": 0.01}),
    Case(
        "adagrad_all", "adagrad", {"maximize": True, "initial_accumulator_value": 0.1, "eps": 1e-3, "weight_decay": 0.1}
    ),
    Case("yogi", "yogi"),
    Case("yogi_all", "yogi", {"betas": [0.8, 0.9], "eps": 0.01, "weight_decay": 0.1, "lr": 0.01}),
    Case("yogi_uncorrected", "yogi", {"bias_correction": False, "lr": 0.01}),
    Case("adabelief", "adabelief"),
    Case(
        "adabelief_all",
        "adabelief",
        {"betas": [0.8, 0.9], "eps": 1e-3, "eps_root": 1e-3, "weight_decay": 0.1, "lr": 0.01},
    ),
    Case("adabelief_nesterov", "adabelief", {"nesterov": True}),
    Case("ademamix", "ademamix"),
    Case("ademamix_all", "ademamix", {"betas": [0.8, 0.9, 0.95], "alpha": 3, "eps_root": 0.01, "weight_decay": 0.1}),
    Case("ademamix_large_eps", "ademamix", {"lr": 0.01, "eps": 0.1}),
    Case("asgd", "asgd"),
    Case("asgd_decay", "asgd", {"weight_decay": 0.1, "lr": 0.1}),
    Case("asgd_all", "asgd", {"maximize": True, "lambd": 0.1, "alpha": 0.5, "t0": 2, "lr": 0.02}),
    Case("rprop", "rprop"),
    Case("rprop_decay", "rprop", {"weight_decay": 0.1, "lr": 0.001}),
    Case("rprop_all", "rprop", {"maximize": True, "etas": [0.7, 1.5], "step_sizes": [1e-3, 0.1], "lr": 0.02}),
    Case("adan", "adan"),
    Case("adan_all", "adan", {"betas": [0.8, 0.9, 0.95], "eps_root": 0.01, "weight_decay": 0.1}),
    Case("adan_large_eps", "adan", {"lr": 0.01, "eps": 0.1}),
    Case("lion", "lion"),
    Case("lion_decay", "lion", {"weight_decay": 0.1, "lr": 0.01}),
    Case("lion_decoupled_decay", "lion", {"weight_decay": 1e-3, "decoupled_weight_decay": True}),
    Case("lion_cautious", "lion", {"cautious": True, "weight_decay": 0.1, "lr": 1e-3}),
    Case("lion_short_memory", "lion", {"betas": [0.5, 0.7], "lr": 1e-3}),
    Case("adadelta", "adadelta"),
    Case("adadelta_decay", "adadelta", {"weight_decay": 0.1, "lr": 0.5}),
    Case("adadelta_all", "adadelta", {"maximize": True, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    Case("lamb", "lamb"),
    Case("lamb_all", "lamb", {"betas": [0.8, 0.9], "eps": 1e-3, "eps_root": 0.01, "weight_decay": 0.1, "lr": 0.01}),
    Case("lars", "lars"),
    Case("lars_decay", "lars", {"weight_decay": 0.1, "lr": 0.1, "trust_coefficient": 0.1}),
    Case("lars_nesterov", "lars", {"nesterov": True, "momentum": 0.5, "eps": 0.1, "lr": 0.1}),
    Case("stable_adamw", "stable_adamw"),
    Case("stable_adamw_all", "stable_adamw", {"betas": [0.8, 0.9], "eps": 0.1, "weight_decay": 0.1, "lr": 0.01}),
    Case(
        "stable_adamw_decouple_lr",
        "stable_adamw",
        {"decouple_lr": True, "max_lr": 0.1, "lr": 0.01, "weight_decay": 1e-4},
    ),
    Case("schedule_free_adamw", "schedule_free_adamw"),
    Case("schedule_free_adamw_decay", "schedule_free_adamw", {"weight_decay": 0.1, "lr": 0.02, "eps": 1e-3}),
    Case(
        "schedule_free_adamw_weights",
        "schedule_free_adamw",
        {"warmup_steps": 20, "r": 0.5, "weight_lr_power": 1.5, "betas": [0.8, 0.9]},
    ),
    Case("schedule_free_sgd", "schedule_free_sgd", {"lr": 0.1}),
    Case("prodigy", "prodigy", {"lr": 0.1}),
    Case("prodigy_decay", "prodigy", {"weight_decay": 0.1, "d_coef": 0.1, "d0": 1e-3, "growth_rate": 1.02}),
    Case(
        "prodigy_all",
        "prodigy",
        {
            "decouple": False,
            "weight_decay": 0.1,
            "use_bias_correction": True,
            "safeguard_warmup": True,
            "betas": [0.8, 0.95],
            "beta3": 0.9,
            "eps": 1e-3,
        },
    ),
    Case(
        "schedule_free_sgd_all",
        "schedule_free_sgd",
        {
            "weight_decay": 0.1,
            "lr": 0.02,
            "warmup_steps": 20,
            "r": 1.5,
            "weight_lr_power": 0,
            "momentum": 0.7,
        },
    ),
]
"""Every rule with each of its flags."""

OWN_GROUPS = [
    {"match": ["gain"], "lr": 0.05, "weight_decay": 0.5},
    {"match": ["layer.*"], "weight_decay": 0.25},
    {"match": ["*bias"], "lr": 99.0},
]

AROUND: Mapping[str, Mapping[str, Any]] = {
    "no_groups": {"groups": []},
    "own_groups": {"groups": OWN_GROUPS},
    "clip_norm": {"clip": {"global_norm": 0.7}},
    "clip_value": {"clip": {"value": 0.3}},
    "schedule": {"schedule": {"kind": "warmup_cosine", "warmup_steps": 20, "total_steps": 150, "min_factor": 0.1}},
    "schedule_and_clip": {"schedule": {"kind": "step", "step_size": 60}, "clip": {"global_norm": 2.0}},
}
"""The settings around a rule that are tried."""

WHOLE = [
    Case(f"{case.name}_{name}", case.optimizer, {**case.hyperparameters, "weight_decay": 0.1}, around)
    for case in RULES
    if case.name in ("adamw", "adam", "sgd_momentum", "rmsprop_centered", "nadam", "adafactor", "muon")
    for name, around in AROUND.items()
]

ALL = [*RULES, *WHOLE]

MACHINES = [Machine(kernel) for kernel in (NUMPY, fastest())]

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.kernel.name)
each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))

STRIDE = 5
"""A case takes the fifth cell after that of the case before it. So both of two choices change from case to case, and a
rule with several cases meets each choice."""


def one_cell_each(names: str, cases: Iterable[Case], *choices: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize a test with each case in one cell of the product of the choices; in a whole run, in every cell."""
    return pytest.mark.parametrize(names, [row for n, case in enumerate(cases) for row in _rows(n, case, choices)])


def _rows(number: int, case: Case, choices: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    cells = [cell for cell in product(*(choice.items() for choice in choices)) if _computes(case, cell)]
    for cell in cells if WHOLE_RUN else [cells[number * STRIDE % len(cells)]]:
        names, values = zip(*cell, strict=True)
        yield pytest.param(case, *values, id="-".join([case.name, *names]), marks=pytest.mark.campaign)


def _computes(case: Case, cell: Iterable[tuple[str, Any]]) -> bool:
    """Return whether the cell's kernel, if it names one, computes the case itself; NumPy does all."""
    kernels = [value.kernel for _, value in cell if isinstance(value, Machine)]
    return kernels in ([], [NUMPY]) or has_loop(case.config.hyperparameters)


KERNELS = {machine.kernel.name: machine for machine in MACHINES}
HOLD = {"sent": False, "held": True}
each_case_and_dtype = one_cell_each("case, dtype", ALL, DTYPES)
each_case_and_machine = one_cell_each("case, machine", ALL, KERNELS)


def tensors(seed: int, dtype: type[Any], shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, Array]:
    """Return normally distributed tensors, the same ones for the same seed, each read-only."""
    return dict(_tensors(seed, np.dtype(dtype), tuple(shapes.items())))


@cache
def _tensors(seed: int, dtype: np.dtype[Any], shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    made = {name: np.asarray(rng.standard_normal(shape)).astype(dtype) for name, shape in shapes}
    for array in made.values():
        array.flags.writeable = False
    return made


def same_bits(left: Mapping[str, Array], right: Mapping[str, Array]) -> bool:
    """Return whether both have the same names, with the same shapes, dtypes and bytes."""
    return left.keys() == right.keys() and all(
        (array.shape, array.dtype, array.tobytes()) == (right[name].shape, right[name].dtype, right[name].tobytes())
        for name, array in left.items()
    )
