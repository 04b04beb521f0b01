"""torch's states as sessions have them, and back: to the bit, or refused."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optim_client import Client, InvalidState, Session
from optim_client._state_file import StateFile
from optim_client.torch import from_torch, to_torch
from optim_client.torch._states import settings_of

from tests.engine.cases import Case
from tests.peers.torch_client.local import CASES, DTYPES, in_order, optimizer_of, params_of, step, stepped

ADAMW, AMSGRAD, SGD, NADAM, ADAGRAD = (
    next(case for case in CASES if case.name == name)
    for name in ("adamw", "adamw_amsgrad", "sgd_momentum", "nadam", "adagrad")
)
WIDE = ["float32", "float64"]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


def session_of(client: Client, case: Case, **settings: Any) -> Session:
    held = {"hold_params": True} if case.optimizer == "muon" else {}
    return client.sessions.create(case.optimizer, groups=[], **case.hyperparameters, **held | settings)


def taken_in(session: Session, optimizer: torch.optim.Optimizer, path: Path) -> StateFile:
    """Put a local state into a session; return what the session has then."""
    params = in_order(optimizer)
    from_torch(optimizer.state_dict(), params, settings_of(session.info), step=3).write(path)
    session.load_state(path, digest="none")
    session.save_state(path)
    return StateFile.read(path)


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Return whether two states have the same entries to the bit, dtypes included."""
    assert ours.keys() == theirs.keys()
    for place, entries in theirs.items():
        assert ours[place].keys() == entries.keys()
        for name, entry in entries.items():
            assert ours[place][name].dtype == entry.dtype, name
            assert torch.equal(ours[place][name], entry), name
    return True


@pytest.mark.parametrize("dtype", WIDE)
@every_case
def test_a_local_state_returns_from_a_session_to_the_bit(
    case: Case, dtype: str, client: Client, tmp_path: Path
) -> None:
    optimizer, session = stepped(case, DTYPES[dtype]), session_of(client, case)
    saved = taken_in(session, optimizer, tmp_path / "state")
    assert session.info.step == 3
    back = to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer))
    again = optimizer_of(case, params_of(case, DTYPES[dtype]))
    again.load_state_dict(back)
    expected = optimizer_of(case, params_of(case, DTYPES[dtype]))
    expected.load_state_dict(optimizer.state_dict())
    assert same(again.state_dict()["state"], expected.state_dict()["state"])
    assert again.state_dict()["param_groups"] == expected.state_dict()["param_groups"]


@every_case
def test_the_next_step_is_that_of_the_local_optimizer(case: Case, client: Client, tmp_path: Path) -> None:
    optimizer = stepped(case, torch.float64)
    session = session_of(client, case, hold_params=True)
    taken_in(session, optimizer, tmp_path / "state")
    grads = step(optimizer, case, 7)
    ours = session.step(grads={name: np.float64(grad) for name, grad in grads.items()})
    tolerance = {"muon": 1e-2, "asgd": 1e-6, "nadam": 1e-6}.get(case.optimizer, 1e-12)
    for name, array in ours.items():
        np.testing.assert_allclose(array, in_order(optimizer)[name].detach().numpy(), rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_case
def test_narrow_moments_are_widened_exactly(case: Case, dtype: str, client: Client, tmp_path: Path) -> None:
    optimizer, session = stepped(case, DTYPES[dtype]), session_of(client, case)
    saved = taken_in(session, optimizer, tmp_path / "state")
    assert {info.dtype for info in session.info.tensors.values()} == {dtype}
    moments = [arrays for slot, arrays in saved.slots.items() if slot != "params"]
    assert all(array.dtype.itemsize >= 4 for arrays in moments for array in arrays.values())
    again = optimizer_of(case, params_of(case, DTYPES[dtype]))
    again.load_state_dict(to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer)))
    expected = optimizer_of(case, params_of(case, DTYPES[dtype]))
    expected.load_state_dict(optimizer.state_dict())
    assert same(again.state_dict()["state"], expected.state_dict()["state"])


def test_a_session_of_bfloat16_comes_back_from_its_state_dict(client: Client, tmp_path: Path) -> None:
    """The moments stay float32 until torch loads them."""
    optimizer, session = optimizer_of(ADAMW, params_of(ADAMW, torch.bfloat16)), session_of(client, ADAMW)
    params = {"bias": np.ones(4, "float32").astype("bfloat16")}
    session.step(params, {"bias": np.array([0.1, 0.2, 0.3, 0.7]).astype("bfloat16")})
    session.save_state(tmp_path / "state")
    saved = StateFile.read(tmp_path / "state")
    there = to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer))
    back = from_torch(there, in_order(optimizer), settings_of(session.info))
    assert back.slots["m"]["bias"].tobytes() == saved.slots["m"]["bias"].tobytes()


def test_nadams_product_is_rounded_by_torch_alone(client: Client, tmp_path: Path) -> None:
    optimizer, session = stepped(NADAM, torch.float32), session_of(client, NADAM)
    taken_in(session, optimizer, tmp_path / "state")
    session.step({"bias": np.ones(4, "f4")}, {"bias": np.ones(4, "f4")})
    session.save_state(tmp_path / "state")
    saved = StateFile.read(tmp_path / "state")
    there = to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer))
    optimizer.load_state_dict(there)
    place = list(in_order(optimizer)).index("bias")
    assert there["state"][place]["mu_product"].item() == saved.slots["mu_product"]["bias"].item()
    assert optimizer.state_dict()["state"][place]["mu_product"].item() == np.float32(saved.slots["mu_product"]["bias"])


def test_an_optimizer_that_torch_lacks_has_the_names_of_slots(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("lion")
    session.step({"w": np.ones(3, "f4")}, {"w": np.float32([1, -2, 3])})
    session.save_state(tmp_path / "state")
    saved, params = StateFile.read(tmp_path / "state"), {"w": torch.nn.Parameter(torch.ones(3))}
    there = to_torch(saved, [{"lr": 1e-3, "params": [0]}], params)
    assert there["state"][0].keys() == {"step", "m", "update"}
    from_torch(there, params, settings_of(session.info)).write(tmp_path / "back")
    session.load_state(tmp_path / "back", digest="none")
    assert session.digest == saved.session["digest"]


def test_adagrad_begins_with_its_sum_in_torch(client: Client, tmp_path: Path) -> None:
    case = Case("", "adagrad", {"initial_accumulator_value": 0.5})
    optimizer, session = optimizer_of(case, params_of(case, torch.float32)), session_of(client, case)
    saved = taken_in(session, optimizer, tmp_path / "state")
    assert not saved.slots
    back = to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer))
    assert same(back["state"], optimizer.state_dict()["state"])


def test_counts_of_sgd_come_back_with_the_session(client: Client, tmp_path: Path) -> None:
    optimizer, session = stepped(SGD, torch.float32), session_of(client, SGD)
    saved = taken_in(session, optimizer, tmp_path / "state")
    there = to_torch(saved, optimizer.state_dict()["param_groups"], in_order(optimizer))
    back = from_torch(there, in_order(optimizer), settings_of(session.info))
    assert back.session["step"] == 3
    assert {name: info["step"] for name, info in back.session["tensors"].items()} == {
        "conv": 3,
        "gain": 3,
        "late": 0,
        "bias": 3,
    }


def first(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of `conv`."""
    entries: dict[str, Any] = state_dict["state"][0]
    return entries


Change = Callable[[dict[str, Any]], Any]
REFUSED: list[tuple[Case, Change, str]] = [
    (ADAMW, lambda d: d.pop("state"), "expected what `state_dict"),
    (ADAMW, lambda d: d.update(param_groups={}), "expected what `state_dict"),
    (ADAMW, lambda d: d["param_groups"][0].pop("params"), r"param_groups\[0\] is no group"),
    (ADAMW, lambda d: d["state"].update({0: 1}), r"state\[0\] is no object"),
    (ADAMW, lambda d: d["state"].update({9: first(d)}), "`state` has an entry 9, which is none of 4 parameters"),
    (ADAMW, lambda d: d["param_groups"].pop(), "3 different parameters; expected 4"),
    (ADAMW, lambda d: d["param_groups"][1].update(params=[0]), "3 different parameters; expected 4"),
    (ADAMW, lambda d: d["param_groups"][0]["param_names"].reverse(), "a parameter 'late' where 'conv' is expected"),
    (ADAMW, lambda d: d["param_groups"][0]["param_names"].pop(), "a parameter None where 'late' is expected"),
    (ADAMW, lambda d: first(d).pop("exp_avg_sq"), r"state\[0\] \('conv'\) has no 'exp_avg_sq' \(adamw\)"),
    (ADAMW, lambda d: first(d).pop("step"), r"has no 'step'"),
    (ADAMW, lambda d: first(d).update(sum=first(d)["exp_avg"]), r"has 'sum' \(adamw\), which is not kept"),
    (ADAMW, lambda d: first(d).update(exp_avg=[0.0]), "'exp_avg' must be a tensor, not list"),
    (
        ADAMW,
        lambda d: first(d).update(exp_avg=torch.zeros(3)),
        r"'exp_avg' is float32 \[3\] and should be float32 \[2, 3",
    ),
    (
        ADAMW,
        lambda d: first(d).update(exp_avg=first(d)["exp_avg"].double()),
        "'exp_avg' is float64 .* should be float32",
    ),
    (ADAMW, lambda d: first(d).update(exp_avg=first(d)["exp_avg"].half()), "'exp_avg' is float16 .* should be float32"),
    (ADAMW, lambda d: first(d).update(exp_avg=first(d)["exp_avg"].to(torch.complex64)), "'exp_avg' is complex64"),
    (ADAMW, lambda d: first(d).update(exp_avg=first(d)["exp_avg"].to_sparse()), "'exp_avg' is sparse float32"),
    (ADAMW, lambda d: first(d).update(step=torch.tensor(2.5)), "its step is 2.5 and should be a whole number"),
    (ADAMW, lambda d: first(d).update(step=float("nan")), "its step is nan and should be a whole number"),
    (ADAMW, lambda d: first(d).update(step=-1), "its step is -1.0 and should be a whole number"),
    (ADAMW, lambda d: first(d).update(step="three"), "'step' must be one number"),
    (ADAMW, lambda d: first(d).update(step=torch.zeros(2)), "'step' must be one number"),
    (ADAMW, lambda d: first(d).update(step=0), "has taken no step, and yet has moments"),
    (ADAMW, lambda d: d.update(session={"step": 3}), "is not the document of a session"),
    (ADAMW, lambda d: d.update(session={"step": 3, "skipped_steps": 0, "tensors": {"w": 1}}), "is not the document"),
    (AMSGRAD, lambda d: first(d).pop("max_exp_avg_sq"), r"no 'max_exp_avg_sq' \(its group has amsgrad=True\)"),
    (
        AMSGRAD,
        lambda d: d["param_groups"][0].update(amsgrad=False),
        r"has 'max_exp_avg_sq' .*amsgrad=False\), which is",
    ),
    (AMSGRAD, lambda d: d["param_groups"][0].update(decoupled_weight_decay=False), "is of Adam, by .* expected adamw"),
    (NADAM, lambda d: first(d).update(mu_product=torch.zeros(2)), "'mu_product' must be one number"),
    (ADAGRAD, lambda d: first(d).update(step=0), "'sum' is not initial_accumulator_value=0 everywhere"),
]


@pytest.mark.parametrize(("case", "change", "words"), REFUSED, ids=lambda value: value if type(value) is str else "")
def test_a_state_that_does_not_fit_is_refused(case: Case, change: Change, words: str) -> None:
    optimizer = stepped(case, torch.float32)
    params, state_dict = in_order(optimizer), deepcopy(optimizer.state_dict())
    change(state_dict)
    with pytest.raises(ValueError, match=words):
        from_torch(state_dict, params, {"optimizer": case.optimizer})


@pytest.mark.parametrize("theirs", CASES, ids=lambda case: case.name)
def test_the_state_of_another_optimizer_is_refused(theirs: Case) -> None:
    optimizer = stepped(theirs, torch.float32)
    for ours in {case.optimizer for case in CASES} - {theirs.optimizer}:
        with pytest.raises(ValueError, match=rf"by the settings of its group; expected {ours}"):
            from_torch(optimizer.state_dict(), in_order(optimizer), {"optimizer": ours}, step=3)


def test_a_state_of_sgd_needs_its_count() -> None:
    optimizer = stepped(SGD, torch.float32)
    with pytest.raises(ValueError, match="SGD counts no steps, and 'conv' has taken some: say with `step` how many"):
        from_torch(optimizer.state_dict(), in_order(optimizer), {"optimizer": "sgd"})


def test_a_session_of_other_parameters_is_refused(client: Client, tmp_path: Path) -> None:
    optimizer, session = stepped(ADAMW, torch.float32), session_of(client, ADAMW)
    saved = taken_in(session, optimizer, tmp_path / "state")
    groups, params = optimizer.state_dict()["param_groups"], in_order(optimizer)
    bias = params.pop("bias")
    with pytest.raises(ValueError, match="tensor 'bias' of the session is none of the optimizer's parameters"):
        to_torch(saved, groups, params | {"other": bias})
    with pytest.raises(ValueError, match=r"'bias' is torch.float32 \[3\] among the parameters, and float32 \[4\]"):
        to_torch(saved, groups, params | {"bias": torch.zeros(3)})
    groups[0]["amsgrad"] = True
    with pytest.raises(ValueError, match=r"no 'v_max' of 'conv': torch needs 'max_exp_avg_sq' .*amsgrad=True"):
        to_torch(saved, groups, params | {"bias": bias})


def test_a_session_that_averages_needs_its_averages(client: Client, tmp_path: Path) -> None:
    optimizer, session = (
        stepped(ADAMW, torch.float32),
        session_of(client, ADAMW, hold_params=True, average={"decay": 0.9}),
    )
    with pytest.raises(InvalidState, match="add 'average/conv'"):
        taken_in(session, optimizer, tmp_path / "state")
