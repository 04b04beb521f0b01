"""The examples with torch: they learn, go on after a stop, and end at the bits of the engine."""

import importlib.util
import os
import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import optim_client.torch
import pytest
import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW, StepAhead
from torch.optim.lr_scheduler import OneCycleLR

from optim_engine import Config, State, step
from tests.docs.blocks import ROOT, blocks, read, section


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


def run(url: str, program: str, *arguments: str) -> str:
    command = [sys.executable, f"examples/{program}", *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OPTIM_BASE_URL": url, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_readme_trains_and_goes_on(server_url: str) -> None:
    code = "".join(blocks(section(read("clients/python/README.md"), "PyTorch"), "py"))
    exec(code.replace("http://127.0.0.1:8000", server_url), {})


def test_the_front_page_names_the_line_that_changes(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIM_BASE_URL", server_url)
    (code,) = blocks(read("README.md"), "py")
    names: dict[str, Any] = {"model": torch.nn.Linear(3, 1)}
    exec(code, names)
    assert isinstance(names["optimizer"], torch.optim.AdamW)
    assert names["optimizer"].param_groups[0]["lr"] == 1e-3


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_scheduler_catches_up_as_the_reference_says(client: Client) -> None:
    code = blocks(section(read("docs/clients/torch.md"), "After a crash"), "py")[0]
    model = torch.nn.Linear(3, 1)
    optimizer = RemoteAdamW(model.named_parameters(), lr=1e-3, client=client)
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=100)
    for _ in range(7):
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    names: dict[str, Any] = {"client": client, "session_id": optimizer.session.id, "model": model}
    exec(code, {"RemoteAdamW": RemoteAdamW, "OneCycleLR": OneCycleLR}, names)
    after = names["optimizer"]
    assert [after.param_groups[0][name] for name in ("lr", "betas")] == [
        optimizer.param_groups[0][name] for name in ("lr", "betas")
    ]
    assert after.param_groups[0]["lr"] != 1e-3


def test_the_reference_names_all_that_is_public() -> None:
    text = read("docs/clients/torch.md")
    assert all(f"`{name}" in text for name in optim_client.torch.__all__)
    for kind in (RemoteAdamW, StepAhead):
        members = {name for each in kind.__mro__ if "optim_client" in each.__module__ for name in vars(each)}
        assert all(name in text for name in members if not name.startswith("_"))


def test_the_digits_are_learned_as_locally(server_url: str, client: Client) -> None:
    """In both runs each line is the same but the one that makes the optimizer."""
    losses = re.findall(r"loss (\S+)   accuracy (\S+)", run(server_url, "torch_digits.py"))
    assert len(losses) == 5
    assert float(losses[-1][1]) > 0.95
    example = loaded("torch_digits")
    here, there = example.network(), example.network()
    example.learn(here, torch.optim.AdamW(here.named_parameters(), weight_decay=0.05), 60)
    example.learn(there, RemoteAdamW(there.named_parameters(), weight_decay=0.05, client=client), 60)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(here.parameters(), there.parameters(), strict=True))


def test_500_steps_of_the_digits_are_those_of_the_engine(client: Client) -> None:
    """The engine is given the gradients of every step, and torch's learning rates and betas."""
    example = loaded("torch_digits")
    model = example.network()
    optimizer = RemoteAdamW(model.named_parameters(), weight_decay=0.05, client=client)
    config = Config.parse("adamw", hyperparameters={"weight_decay": 0.05}, groups=[])
    engine: dict[str, Any] = {"params": arrays(model), "state": State.empty(), "steps": 0}

    def follow(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        grads = {name: param.grad.numpy().copy() for name, param in model.named_parameters()}
        overrides = {"lr": group["lr"], "betas": list(group["betas"])}
        outcome = step(config, engine["state"], engine["params"], grads, overrides=overrides)
        engine.update(params=outcome.params, state=outcome.state, steps=engine["steps"] + 1)

    optimizer.register_step_pre_hook(follow)
    example.learn(model, optimizer)
    assert (engine["steps"], optimizer.session.info.step) == (500, 500)
    assert example.accuracy(model) > 0.95
    ours = arrays(model)
    assert all(np.array_equal(ours[name], array) for name, array in engine["params"].items())


def arrays(model: torch.nn.Module) -> dict[str, Any]:
    return {name: param.detach().numpy().copy() for name, param in model.named_parameters()}


@pytest.mark.parametrize("stop_after", [1, 120])
def test_a_stopped_trainer_goes_on_to_the_same_bits(client: Client, stop_after: int) -> None:
    module = loaded("trainer")

    def trainer() -> Any:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 10))
        return module.Trainer(network, module.Arguments(), module.digits.load()[0], client)

    whole = trainer()
    expected = whole.train().session.digest
    stopped = trainer()
    optimizer = stopped.optimizer(None)
    session, stopped.optimizer = optimizer.session, lambda _: optimizer
    taken = session.step

    def crashing(*given: Any, **named: Any) -> Any:
        answer = taken(*given, **named)
        if session.info.step > stop_after:
            raise KeyboardInterrupt  # after the answer, before the parameters are in place
        return answer

    session.step = crashing
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    after = trainer()
    assert after.train(session.id).session.digest == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), after.model.parameters(), strict=True))


def test_the_trainer_learns_and_goes_on_by_its_id(server_url: str) -> None:
    out = run(server_url, "trainer.py")
    found = re.search(r"session (\w+), after step 0\n", out)
    assert found
    losses = [float(loss) for loss in re.findall(r"'loss': ([\d.]+)", out)]
    assert losses[-1] < losses[0]
    assert run(server_url, "trainer.py", found[1]) == f"session {found[1]}, after step 200\n"


def test_a_moved_run_ends_within_rounding_of_a_local_one(server_url: str) -> None:
    said = re.fullmatch(
        r"loss (\S+) after 300 steps; (\S+) if all are local\n"
        r"the moves are exact; the parameters are (\S+) apart, which is rounding\n",
        run(server_url, "move.py"),
    )
    assert said
    assert abs(float(said[1]) - float(said[2])) < 2e-4
    assert float(said[3]) < 1e-5
