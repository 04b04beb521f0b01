"""The training runs whose every byte is kept: small, and each with something that a client may get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from optim_client import Int8, Rows, TopK

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Step:
    """One request; `number` is its `step`. Its parameters are its own, or the last answer's, or the run's first."""

    grads: Any
    number: int
    loss: float | None = None
    lr: float | None = None
    params: Any = None
    grad_scale: float | None = None
    overrides: Any = None
    preview: bool = False
    minimal: bool = False


@dataclass(frozen=True)
class Other:
    """A call that is no step, by its path below the session's and its body. It is answered with a session."""

    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A session, its first parameters, and its calls: arrays, or where it is not binary, tensors as JSON has them."""

    settings: dict[str, Any]
    params: Any
    steps: tuple[Step | Other, ...]
    binary: bool = field(default=True)

    @property
    def hold_params(self) -> bool:
        return bool(self.settings.get("hold_params"))


def _params(dtype: Any) -> Arrays:
    return {
        "layer/0/weight": np.array([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]], dtype),
        "layer/0/bias": np.array([0.0, 1.0], dtype),
        "größe": np.array(0.5, dtype),
        "none": np.zeros((0, 2), dtype),
    }


def _grads(dtype: Any, scale: float) -> Arrays:
    return {
        "layer/0/weight": np.array([[0.01, -0.3, 0.25], [1.5, 0.0, -2.0]], dtype) * np.array(scale, dtype),
        "layer/0/bias": np.array([0.2, -0.125], dtype) * np.array(scale, dtype),
        "größe": np.array(-0.75, dtype) * np.array(scale, dtype),
        "none": np.zeros((0, 2), dtype),
    }


def _steps(dtype: Any) -> tuple[Step, ...]:
    return (
        Step(_grads(dtype, 1), 1, loss=0.53),
        Step(_grads(dtype, -0.5), 2, loss=0.25, lr=0.01),
        Step(_grads(dtype, 4), 3),
    )


_NAN: Arrays = _grads(np.float32, 1) | {"layer/0/bias": np.array([0.2, np.nan], np.float32)}
_JSON_PARAMS = {
    "w": [[0.1, 0.2]],
    "b": {"dtype": "float64", "shape": [1], "data": [0.1]},
    "h": {"dtype": "float16", "shape": [2], "base64": "ADwAwA=="},
    "s": 0.5,
}
_JSON_GRADS = {
    "w": [[0.01, -0.3]],
    "b": {"dtype": "float64", "shape": [1], "data": [0.2]},
    "h": {"dtype": "float16", "shape": [2], "base64": "ADgANA=="},
    "s": -1,
}
_JSON_HALVES = {
    "w": {"dtype": "bfloat16", "shape": [1, 2], "data": [0.01, -0.3]},
    "h": {"dtype": "bfloat16", "shape": [2], "base64": "gD8AQA=="},
    "s": -1,
}
_JSON_INFINITE = {"w": {"dtype": "float32", "shape": [1, 2], "base64": "AACAPwAAgH8="}}
_OVERRIDES = {"lr": 0.125, "betas": [0.5, 0.75], "groups": {"0": {"lr": 0.25, "weight_decay": 0.1}}}
_WARNED: Arrays = {"w": np.array([1, -2], np.float32), "bf": np.array([1, 0.5], ml_dtypes.bfloat16)}
_RENAMED: Arrays = {f"module.{name}": array for name, array in _WARNED.items()}

_LARGE: Arrays = {"w": np.linspace(-1, 1, 300, dtype=np.float32).reshape(3, 100), "b": np.array([0.5, -2], np.float32)}
_TABLE: Arrays = {"emb": np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2), "w": np.array([0.5], np.float32)}
_ONE = TopK([1], np.array([0.5], np.float32))
_Q = np.array([-128, 127, 3, 0, -1] * 60, np.int8).reshape(3, 100)

CASES: Mapping[str, Case] = {
    "adamw": Case({"optimizer": "adamw"}, _params(np.float32), _steps(np.float32)),
    "adamw-held": Case({"optimizer": "adamw", "hold_params": True}, _params(np.float32), _steps(np.float32)),
    "adamw-bfloat16-on-the-wire": Case(
        {"optimizer": "adamw", "hold_params": True, "wire_dtype": "bfloat16"},
        _params(np.float32),
        _steps(ml_dtypes.bfloat16),
    ),
    "adamw-bfloat16-on-the-wire-json": Case(
        {"optimizer": "adamw", "hold_params": True, "wire_dtype": "bfloat16"},
        {"w": [[0.1, 0.2]], "h": {"dtype": "bfloat16", "shape": [2], "data": [1, -2]}, "s": 0.5},
        (Step(_JSON_HALVES, 1), Step(_JSON_HALVES, 2)),
        binary=False,
    ),
    "adamw-json": Case(
        {"optimizer": "adamw", "clip": {"global_norm": 0.25}},
        _JSON_PARAMS,
        (Step(_JSON_GRADS, 1, loss=0.53), Step(_JSON_GRADS, 2, lr=0.5)),
        binary=False,
    ),
    "amsgrad-bfloat16": Case(
        {"optimizer": "adam", "hyperparameters": {"lr": 0.05, "amsgrad": True}},
        _params(ml_dtypes.bfloat16),
        _steps(ml_dtypes.bfloat16),
    ),
    "rmsprop-float16": Case(
        {"optimizer": "rmsprop", "hyperparameters": {"centered": True, "momentum": 0.9}},
        _params(np.float16),
        _steps(np.float16),
    ),
    "scaled-float16": Case(
        {"optimizer": "adamw", "clip": {"global_norm": 1.0}},
        _params(np.float16),
        (
            Step(_grads(np.float16, 1024), 1, grad_scale=1024.0),
            Step(_grads(np.float16, 3), 2, grad_scale=3e4, overrides=_OVERRIDES),
        ),
    ),
    "overrides-json": Case(
        {"optimizer": "adamw", "schedule": {"kind": "linear_warmup", "warmup_steps": 4}},
        {"w": [[0.1, 0.2]], "bias": [0.5]},
        (
            Step({"w": [[0.01, -0.3]], "bias": [1]}, 1, overrides=_OVERRIDES),
            Step({"w": [[0.01, -0.3]], "bias": [1]}, 2, lr=0.25, grad_scale=0.5),
            Step({"w": [[1, 1]], "bias": [1]}, 3, lr=0.25, overrides={"lr": 0.5}),
        ),
        binary=False,
    ),
    "groups": Case(
        {
            "optimizer": "sgd",
            "hyperparameters": {"momentum": 0.9},
            "groups": [
                {"match": ["layer/*"], "optimizer": "lion", "name": "lions", "lr": 0.01},
                {"match": ["größe"], "optimizer": "adadelta"},
            ],
        },
        _params(np.float32),
        (
            Step(_grads(np.float32, 1), 1),
            Step(
                _grads(np.float32, -2), 2, overrides={"lr": 0.5, "groups": {"lions": {"lr": 0.25, "betas": [0.5, 0.6]}}}
            ),
        ),
    ),
    "groups-vector-json": Case(
        {"optimizer": "adamw", "groups": [{"match": ["*"], "optimizer": "muon"}], "hold_params": True},
        {"w": [[0.1, 0.2]], "bias": [0.5]},
        (Step({"w": [[0.01, -0.3]], "bias": [1]}, 1),),
        binary=False,
    ),
    "compressed": Case(
        {"optimizer": "adamw", "clip": {"global_norm": 1.0}},
        _LARGE,
        (
            Step({"w": TopK([0, 7, 299], np.array([0.5, -1, 2], np.float32)), "b": np.array([0.25, 1], np.float32)}, 1),
            Step({"w": Int8(_Q, [0.1, -3e-5]), "b": Int8(np.array([100, -1], np.int8), 0.01)}, 2),
            Step({"w": TopK([3, 5], Int8(np.array([7, -7], np.int8), 0.3)), "b": _ONE}, 3, grad_scale=2.0),
        ),
    ),
    "rows": Case(
        {"optimizer": "adamw", "hold_params": True},
        _TABLE,
        (
            Step({name: np.ones_like(x) for name, x in _TABLE.items()}, 1),
            Step({"emb": Rows([0, 3], np.array([[1, -2], [0.5, 0]], np.float32)), "w": np.array([1], np.float32)}, 2),
            Step({"emb": Rows([2], Int8(np.array([[7, -7]], np.int8), 0.5))}, 3),
            Step({"emb": Rows([], np.zeros((0, 2), np.float32))}, 4),
        ),
    ),
    "rows-json": Case(
        {"optimizer": "adamw", "hold_params": True},
        {"emb": [[1, 2], [3, 4], [5, 6]], "d": {"dtype": "float64", "shape": [2, 1], "data": [1, 2]}},
        (
            Step({"emb": [[1, 2], [3, 4], [5, 6]], "d": {"dtype": "float64", "shape": [2, 1], "data": [1, 2]}}, 1),
            Step(
                {
                    "emb": {"rows": [0, 2], "data": [[0.5, -1], [2, 0]]},
                    "d": {"rows": [1], "dtype": "float64", "data": [[0.1]]},
                },
                2,
            ),
            Step({"emb": {"rows": [1], "dtype": "float32", "shape": [1, 2], "base64": "AACAPwAAgD8="}}, 3),
        ),
        binary=False,
    ),
    "preview-and-minimal": Case(
        {"optimizer": "adamw", "hold_params": True},
        _params(np.float32),
        (
            Step(_grads(np.float32, 1), 1),
            Step(_grads(np.float32, 3), 2, lr=0.5, preview=True),
            Step(_grads(np.float32, -0.5), 2, minimal=True),
        ),
    ),
    "preview-and-minimal-json": Case(
        {"optimizer": "adamw", "hold_params": True},
        {"w": [[0.1, 0.2]]},
        (
            Step({"w": [[0.01, -0.3]]}, 1),
            Step({"w": [[1, 2]]}, 2, lr=0.5, preview=True),
            Step({"w": [[-0.5, 0.25]]}, 2, minimal=True),
        ),
        binary=False,
    ),
    "undo-and-fork": Case(
        {"optimizer": "adamw", "hold_params": True, "undo": 1},
        _params(np.float32),
        (
            Step(_grads(np.float32, 1), 1),
            Step(_grads(np.float32, 3), 2),
            Other("undo", {"step": 2}),
            Other("fork", {"labels": {"run": "b"}}),
            Step(_grads(np.float32, -0.5), 2),
        ),
    ),
    "sgd-momentum-float64": Case(
        {"optimizer": "sgd", "hyperparameters": {"lr": 0.1, "momentum": 0.9, "nesterov": True}},
        _params(np.float64),
        _steps(np.float64),
    ),
    "skip": Case(
        {"optimizer": "adamw", "on_non_finite": "skip"},
        _params(np.float32),
        (Step(_grads(np.float32, 1), 1), Step(_NAN, 2), Step(_grads(np.float32, 2), 2)),
    ),
    "skip-json": Case(
        {"optimizer": "sgd", "on_non_finite": "skip"},
        {"w": [[0.1, 0.2]]},
        (Step(_JSON_INFINITE, 1), Step({"w": [[1, 2]]}, 1)),
        binary=False,
    ),
    "null-gradients-json": Case(
        {"optimizer": "adamw", "on_non_finite": "skip"},
        {"w": [[0.1, 0.2]], "h": {"dtype": "float16", "shape": [2], "data": [1, 2]}, "s": 0.5, "frozen": [1, 2]},
        (
            Step(
                {"w": [[0.5, None]], "h": {"dtype": "float16", "shape": [2], "data": [1, 2]}, "s": 1, "frozen": None}, 1
            ),
            Step({"w": [[1, 2]], "h": {"dtype": "float16", "shape": [2], "data": [65520, 2]}, "s": "-Infinity"}, 1),
            Step({"w": [[1, 2]], "h": {"dtype": "float16", "shape": [2], "data": [1, 2]}, "s": 1}, 1),
        ),
        binary=False,
    ),
    "null-gradients-rejected-json": Case(
        {"optimizer": "adamw"}, {"w": [[1, 2], [3, 4]]}, (Step({"w": [[1, 2], ["Infinity", None]]}, 1),), binary=False
    ),
    "reject": Case({"optimizer": "adamw"}, _params(np.float32), (Step(_NAN, 1),)),
    "conflict": Case(
        {"optimizer": "adamw"}, _params(np.float32), (Step(_grads(np.float32, 1), 1), Step(_grads(np.float32, 2), 1))
    ),
    "warnings": Case(
        {"optimizer": "adamw", "groups": [{"match": ["norm*", "layer[0]*"], "weight_decay": 0.0}]},
        _WARNED,
        (
            Step(_WARNED, 1),
            Step(_WARNED, 2, params=_WARNED),
            Step(_RENAMED, 3, params=_RENAMED),
            Step({"half": np.array([1e-7], np.float16)}, 4, params={"half": np.array([0.5], np.float16)}),
        ),
    ),
    "warnings-json": Case(
        {"optimizer": "adamw", "on_non_finite": "skip"},
        {"bias_ih_l0": [1, 2]},
        (Step({"bias_ih_l0": [1, 2]}, 1), Step({"bias_ih_l0": [3, 4]}, 2, params={"bias_ih_l0": [1, 2]})),
        binary=False,
    ),
    "other-params": Case(
        {"optimizer": "adamw", "on_other_params": "reject"},
        _params(np.float32),
        (
            Step(_grads(np.float32, 1), 1),
            Step(_grads(np.float32, 2), 2, params=_params(np.float32)),
            Step(_grads(np.float32, 2), 2),
        ),
    ),
    "mismatch": Case(
        {"optimizer": "adamw"}, _params(np.float32), (Step(_grads(np.float32, 1) | {"none": np.zeros(2)}, 1),)
    ),
}
