"""`optim sessions export` and `import` in the format torch, as they are typed."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from optim_client import Client
from optim_client.torch import by_name

from app.commands import state_files
from tests.command import Optim, typed
from tests.peers.torch_client.test_order import made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(f"lmdb:{tmp_path / 'store'}") as client:
        yield client


@pytest.fixture
def optim(client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Optim:
    """Return the command `optim sessions` of the client's service."""
    monkeypatch.setattr(state_files, "client", lambda url: nullcontext(client))
    return partial(typed, monkeypatch, capsys, "sessions")


def test_a_session_comes_back_from_a_file_of_torch(client: Client, optim: Optim, tmp_path: Path) -> None:
    session, file = client.sessions.create("adamw", clip={"value": 1.0}), str(tmp_path / "state.pt")
    session.step({"w": np.ones(3, "f4")}, {"w": np.float32([1, 2, 3])})
    status, told, said = optim("export", session.id, file, "--format", "torch")
    assert (status, said) == (0, "torch has no clip: there, the run goes on without\n")
    assert told.startswith(f"wrote {file}: step 1, ")
    status, made_id, _ = optim("import", file)
    assert status == 0
    assert client.sessions.get(made_id.strip()).digest == session.digest
    session.step({"w": np.ones(3, "f4")}, {"w": np.float32([1, 2, 3])})
    assert optim("import", session.id, file) == (0, "", "")
    assert session.get().step == 1


def test_a_local_optimizer_goes_on_in_a_session_and_back(client: Client, optim: Optim, tmp_path: Path) -> None:
    optimizer, file = made("ccc", "a"), str(tmp_path / "state.pt")
    torch.save(optimizer.state_dict(), file)
    status, made_id, _ = optim("import", file)
    assert status == 0
    session = client.sessions.get(made_id.strip())
    assert (session.info.optimizer, session.info.step, session.info.groups) == ("adamw", 1, [])
    assert optim("export", session.id, file, "--format", "torch")[0] == 0
    again = made("a", "ccc")
    again.load_state_dict(by_name(again, torch.load(file)))
    for ours, theirs in zip(again.state.values(), [*optimizer.state.values()][::-1], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_sgd_is_told_its_steps(client: Client, optim: Optim, tmp_path: Path) -> None:
    params = [("w", torch.nn.Parameter(torch.ones(3)))]
    optimizer, file = torch.optim.SGD(params, momentum=0.9), str(tmp_path / "state.pt")
    params[0][1].grad = torch.ones(3)
    optimizer.step()
    torch.save(optimizer.state_dict(), file)
    status, _, said = optim("import", file)
    assert status == 1
    assert "SGD counts no steps, and 'w' has taken some" in said
    status, made_id, _ = optim("import", file, "--step", "7")
    assert (status, client.sessions.get(made_id.strip()).info.tensors["w"].step) == (0, 7)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-40]), "without its end"),
        (lambda file: torch.save({"state": print, "param_groups": []}, file), "which is code and is no state"),
        (lambda file: torch.save({"model": {}, "epoch": 3}, file), "an object with 'model', 'epoch'; expected the"),
        (lambda file: torch.save(made("w", kind=torch.optim.Adamax).state_dict(), file), "the file is of adamax"),
        (lambda file: torch.save(made("x").state_dict(), file), "tensor 'w' of the session is not in the file"),
    ],
    ids=["truncated", "code", "checkpoint", "kind", "names"],
)
def test_a_refused_file_changes_nothing(
    client: Client, optim: Optim, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    session, file = client.sessions.create("adamw"), tmp_path / "state.pt"
    session.step({"w": np.ones(1, "f4")}, {"w": np.ones(1, "f4")})
    torch.save(made("w").state_dict(), file)
    spoil(file)
    status, told, said = optim("import", session.id, str(file))
    assert (status, told) == (1, "")
    assert words in said
    assert said.count("\n") == 1
    assert session.get().digest == session.digest
    assert len(list(client.sessions)) == 1


def test_a_refused_creation_leaves_no_session(client: Client, optim: Optim, tmp_path: Path) -> None:
    """The session can be made, and its state cannot: the name is too long."""
    torch.save(made("w" * 2000).state_dict(), tmp_path / "state.pt")
    status, told, said = optim("import", str(tmp_path / "state.pt"))
    assert (status, told) == (1, "")
    assert "must have 1 to 256 characters" in said
    assert not list(client.sessions)
