"""Caution against timm: fed the same 1,000 gradients, the parameters and the moments agree."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from optim_engine import Config
from tests.peers.runs import assert_near, engine, gradients, initial

[folder] = find_spec("timm").submodule_search_locations
for name in ("timm", "timm.optim"):
    package = ModuleType(name)
    package.__path__ = [str(Path(folder, *name.split(".")[1:]))]
    sys.modules[name] = package  # its own code imports torchvision, which does not fit every build of torch
from timm.optim.adamw import AdamWLegacy as AdamW  # noqa: E402
from timm.optim.lion import Lion  # noqa: E402

CAUTIOUS: dict[str, tuple[Any, dict[str, Any], dict[str, str]]] = {
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.9)}, {"m": "exp_avg", "v": "exp_avg_sq"}),
    "lion": (Lion, {"lr": 1e-3, "weight_decay": 0.1}, {"m": "exp_avg"}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("optimizer", CAUTIOUS)
def test_parameters_and_moments_agree_after_1000_steps(optimizer: str, dtype: type[np.floating]) -> None:
    kind, settings, slots = CAUTIOUS[optimizer]
    ours, state, _ = engine(Config.parse(optimizer, hyperparameters={**settings, "cautious": True}, groups=[]), dtype)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    peer = kind(params.values(), **settings, caution=True, foreach=False)
    for grads in gradients(dtype):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        peer.step()
    assert_near(ours, {name: param.detach().numpy() for name, param in params.items()})
    for slot, theirs in slots.items():
        moments = {name: peer.state[param][theirs].numpy() for name, param in params.items()}
        assert_near({name: state.array(name, slot) for name in params}, moments)
