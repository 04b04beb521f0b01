"""State files as files of torch, and back: with the same digest, or refused. No pickle is executed."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optim_client import Client, InvalidState, Rows, Session
from optim_client._state_file import StateFile
from optim_client.torch import by_name, export_torch, import_torch

from tests.engine.cases import RULES, Case
from tests.peers.torch_client.local import CASES, DTYPES, in_order, optimizer_of, params_of, step, stepped


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


def exported(session: Session, folder: Path) -> Path:
    """Return the session's state as a file of torch."""
    session.save_state(folder / "saved")
    export_torch(folder / "saved", folder / "state.pt")
    return folder / "state.pt"


def returned(client: Client, file: Path) -> Session:
    """Return a session that is made of a file of torch."""
    import_torch(file, file.with_name("back"))
    return client.sessions.create_from_state(file.with_name("back"))


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_every_rule_comes_back_with_its_digest(case: Case, client: Client, tmp_path: Path) -> None:
    held = case.optimizer == "muon"
    session = client.sessions.create(case.optimizer, hold_params=held, **case.hyperparameters)
    wide, narrow = case.tensors(1, np.float64, {"w": (3, 5), "x": (2, 2)}), case.tensors(2, np.float16, {"h": (3,)})
    params = case.tensors(0, np.float32) | narrow | wide
    if held:
        session.put_params(params)
    session.step(None if held else params, case.tensors(3, np.float32) | narrow)
    assert returned(client, exported(session, tmp_path)).digest == session.digest


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("adamw", {"hold_params": True, "average": {"decay": 0.9}, "wire_dtype": "bfloat16"}),
        ("adadelta", {"schedule": {"kind": "cosine", "total_steps": 9}, "clip": {"value": 1.0}, "labels": {"a": "b"}}),
        ("sgd", {"hold_params": True, "groups": [{"match": ["[*]*"], "momentum": 0.9}], "undo": 1}),
        (
            "adamw",
            {"hold_params": True, "groups": [{"match": ["m*"], "optimizer": "muon"}, {"match": ["*e"], "lr": 1.0}]},
        ),
        ("lion", {"hold_params": True}),
        ("prodigy", {}),
    ],
)
def test_every_setting_comes_back_with_its_digest(
    optimizer: Any, settings: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    session = client.sessions.create(optimizer, **settings)
    params = {"matrix": np.ones((2, 3), "f4"), "*one": np.ones((), "f8"), "late": np.ones(2, "f2")}
    if settings.get("hold_params"):
        session.put_params(params)
        params = {}
    for _ in range(2):
        session.step(params or None, {"matrix": np.float32([[1, 2, 3], [4, -5, 6]]), "*one": np.float64(0.5)})
    again = returned(client, exported(session, tmp_path))
    assert again.digest == session.digest
    assert (again.info.labels, again.info.undo) == (session.info.labels, session.info.undo)


def test_lazy_rows_come_back_with_their_digest(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw", hold_params=True, groups=[{"match": ["emb"], "sparse": "lazy"}])
    session.put_params({"emb": np.ones((6, 4), np.float32)})
    for indices in ([1, 3], [3, 5]):
        session.step(grads={"emb": Rows(indices, np.ones((2, 4), np.float32))})
    assert returned(client, exported(session, tmp_path)).digest == session.digest


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_local_optimizer_loads_an_exported_file(case: Case, client: Client, tmp_path: Path) -> None:
    held = case.optimizer == "muon"
    session = client.sessions.create(case.optimizer, groups=[], hold_params=held, **case.hyperparameters)
    params = {name: p.detach().numpy() for name, p in params_of(case, torch.float32).items()}
    if held:
        session.put_params(params)
    session.step(None if held else params, case.tensors(3, np.float32, {"conv": (2, 3, 4), "bias": (4,)}))
    optimizer = optimizer_of(Case("", case.optimizer), params_of(case, torch.float32))
    optimizer.register_load_state_dict_pre_hook(by_name)
    read = torch.load(exported(session, tmp_path), weights_only=True)
    optimizer.load_state_dict(read)
    for group in optimizer.param_groups:
        for name, value in case.hyperparameters.items():
            assert group[name] == (tuple(value) if isinstance(value, list) else value)
    step(optimizer, case, 7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_local_file_makes_a_session_of_its_settings(case: Case, dtype: str, client: Client, tmp_path: Path) -> None:
    optimizer = stepped(case, DTYPES[dtype])
    optimizer.param_groups[1]["lr"] = 0.375
    torch.save(optimizer.state_dict(), tmp_path / "local.pt")
    saved = import_torch(tmp_path / "local.pt", tmp_path / "state", step=3)
    without_state = {"late"} if case.optimizer != "adagrad" else set()
    if optimizer.state_dict()["state"]:
        assert saved.session["tensors"].keys() == {"conv", "bias", "gain", "late"} - without_state
        assert saved.session["tensors"]["conv"] == {
            "shape": list(in_order(optimizer)["conv"].shape),
            "dtype": dtype,
            "step": 3,
        }
    [group] = saved.session["groups"]
    assert group == {"match": ["bias"], "lr": 0.375}
    if case.optimizer == "muon":
        return  # which needs its parameters
    h = {name: value for name, value in saved.session["hyperparameters"].items() if name != "lr"}
    session = client.sessions.create(saved.session["optimizer"], groups=saved.session["groups"], **h)
    session.load_state(tmp_path / "state", digest="none")
    assert session.info.step == 3


class Touches:
    """A pickled call: whoever executes it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_code_is_refused_and_not_executed(legacy: bool, tmp_path: Path) -> None:
    state_dict = {"state": Touches(tmp_path / "touched"), "param_groups": []}
    torch.save(state_dict, tmp_path / "evil.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"evil.pt has \w+.mkdir, which is code and is no state of an optimizer"):
        import_torch(tmp_path / "evil.pt", tmp_path / "state")
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "state").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "touched").exists()  # so the file would have done it


def test_a_plain_pickle_with_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Touches(tmp_path / "touched"), protocol=2))
    with pytest.raises(ValueError, match="nothing of it was executed"):
        import_torch(tmp_path / "evil.pt", tmp_path / "state")
    assert not (tmp_path / "touched").exists()


def test_a_damaged_file_is_refused_at_every_place(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw")
    session.step({"w": np.ones(50, "f4")}, {"w": np.ones(50, "f4")})
    whole = exported(session, tmp_path).read_bytes()
    damaged = [whole[:end] for end in range(0, len(whole), 97)]
    damaged += [whole[:i] + bytes([whole[i] ^ 0x10]) + whole[i + 1 :] for i in range(0, len(whole), 23)]
    harmless = 0
    for content in damaged:
        (tmp_path / "damaged.pt").write_bytes(content)
        try:
            again = returned(client, tmp_path / "damaged.pt")
        except (ValueError, InvalidState):
            continue
        harmless += 1
        assert again.digest == session.digest  # a byte of the archive that nobody reads
    assert harmless < len(damaged) / 2


Change = Callable[[dict[str, Any]], Any]
CHANGED: list[tuple[Change, str]] = [
    (lambda d: d.pop("state"), "expected the `state_dict\\(\\)` of an optimizer alone"),
    (lambda d: d["session"].pop("optimizer"), "`session` is not the document of a session"),
    (lambda d: d["session"]["tensors"]["w"].pop("shape"), "`session` has no shape, dtype and group of tensor 'w'"),
    (
        lambda d: d["session"]["tensors"]["w"].update(shape=[3, -1]),
        "`session` has no shape, dtype and group of tensor 'w'",
    ),
    (lambda d: d["session"]["tensors"]["w"].update(shape=[4]), "`slots` has no 'params/w' of float32 \\[4\\]"),
    (lambda d: d["session"]["tensors"].pop("w"), "no slot of a tensor of `session`"),
    (lambda d: d["slots"].clear(), "`slots` has no 'params/w' of float32 \\[3\\], which `session` holds"),
    (lambda d: d["slots"].update({"m/w": torch.ones(3)}), "`slots` has 'm/w', which .* is in `state`"),
    (lambda d: d["slots"].update({"average/w": 3}), "'average/w' in `slots` must be a dense tensor of one of"),
    (lambda d: d["param_groups"][0].pop("param_names"), r"param_groups\[0\] has no name for each parameter"),
    (lambda d: d["param_groups"].clear(), "tensor 'w' of `session` is not among the names of `param_groups`"),
    (lambda d: d["param_groups"].append(d["param_groups"][0]), "two parameters have the name 'w'"),
    (lambda d: d["state"][0].pop("exp_avg"), "has no 'exp_avg'"),
]


@pytest.mark.parametrize(("change", "words"), CHANGED, ids=[words for _, words in CHANGED])
def test_a_file_with_contradictions_is_refused(change: Change, words: str, client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw", hold_params=True)
    session.put_params({"w": np.ones(3, "f4")})
    session.step(grads={"w": np.ones(3, "f4")})
    file = exported(session, tmp_path)
    read = torch.load(file, weights_only=True)
    change(read)
    torch.save(read, file)
    with pytest.raises(ValueError, match=words):
        import_torch(file, tmp_path / "back")


def test_a_changed_moment_does_not_fit_the_digest(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw")
    session.step({"w": np.ones(3, "f4")}, {"w": np.ones(3, "f4")})
    file = exported(session, tmp_path)
    read = torch.load(file, weights_only=True)
    read["state"][0]["exp_avg"][1] += 1
    torch.save(read, file)
    with pytest.raises(InvalidState, match="the file's content is not what its digest says"):
        returned(client, file)


def test_settings_that_torch_lacks_are_named(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw", clip={"value": 1.0}, cautious=True)
    session.step({"w": np.ones(3, "f4")}, {"w": np.ones(3, "f4")})
    session.save_state(tmp_path / "saved")
    assert export_torch(tmp_path / "saved", tmp_path / "state.pt") == ["cautious", "clip"]
    assert StateFile.read(tmp_path / "saved").session["digest"] == session.digest
