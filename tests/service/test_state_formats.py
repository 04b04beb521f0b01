"""`optim sessions export` and `import` in other formats, as they are typed; torch is not installed here."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from optim_client import Client, Session

from app.commands import state_files
from tests.command import Optim, typed


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


@pytest.fixture
def optim(client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Optim:
    """Return the command `optim sessions` of the client's service."""
    monkeypatch.setattr(state_files, "client", lambda url: nullcontext(client))
    return partial(typed, monkeypatch, capsys, "sessions")


@pytest.fixture
def session(client: Client) -> Session:
    session = client.sessions.create("adamw")
    session.step({"w": np.ones(3, "f4")}, {"w": np.float32([1, 2, 3])})
    return session


def test_a_session_comes_back_from_an_npz_file(client: Client, optim: Optim, session: Session, tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    status, told, said = optim("export", session.id, str(file), "--format", "optax-npz")
    assert (status, told, said) == (0, f"wrote {file}: step 1, {os.path.getsize(file):,} bytes\n", "")
    status, made, said = optim("import", str(file))
    assert (status, said) == (0, "")
    assert client.sessions.get(made.strip()).digest == session.digest


def test_an_npz_file_made_by_hand_makes_a_session(client: Client, optim: Optim, tmp_path: Path) -> None:
    m = np.float32([1, 2])
    np.savez(tmp_path / "hand.npz", **{"mu/w": m, "nu/w": m, "count": np.array(3), "session": '{"optimizer": "adamw"}'})  # type: ignore[arg-type]
    status, made, said = optim("import", str(tmp_path / "hand.npz"))
    assert (status, said) == (0, "")
    assert client.sessions.get(made.strip()).info.tensors["w"].step == 3


def test_a_setting_among_the_hyperparameters_is_refused(client: Client, optim: Optim, tmp_path: Path) -> None:
    session = '{"optimizer": "adamw", "hyperparameters": {"labels": {}}, "labels": {}}'
    m = np.float32([1, 2])
    np.savez(tmp_path / "hand.npz", **{"mu/w": m, "nu/w": m, "count": np.array(3), "session": session})  # type: ignore[arg-type]
    said = "optim: the file's hyperparameters have 'labels', which is none\n"
    assert optim("import", str(tmp_path / "hand.npz")) == (1, "", said)
    assert not list(client.sessions)


def test_torch_that_is_not_installed_is_named(optim: Optim, session: Session, tmp_path: Path) -> None:
    for words in (("export", session.id), ("import",), ("import", session.id)):
        (tmp_path / "state.pt").write_bytes(b"\x80\x02.")
        status, told, said = optim(*words, str(tmp_path / "state.pt"), "--format", "torch")
        assert (status, told) == (1, "")
        assert said.startswith(
            "optim: the format torch needs PyTorch, which is not installed here: pip install torch, or"
        )
    assert optim("import", str(tmp_path / "state.pt"))[2] == said  # a pickle is torch's


def test_an_unknown_format_is_refused_by_name(optim: Optim, session: Session) -> None:
    status, told, said = optim("export", session.id, "x", "--format", "pickle")
    assert (status, told) == (2, "")
    assert "unknown format 'pickle'; expected one of" in said


def test_the_step_is_for_torch_alone(optim: Optim, session: Session, tmp_path: Path) -> None:
    session.save_state(tmp_path / "state")
    status, _, said = optim("import", str(tmp_path / "state"), "--step", "3")
    assert (status, said) == (
        1,
        f"optim: --step is for a file of torch; {tmp_path / 'state'} is safetensors, which has the step in it\n",
    )


def _zip(file: Path, **members: bytes) -> None:
    with ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _spoil_names(file: Path) -> None:
    _zip(file, ü=b"")
    file.write_bytes(file.read_bytes().replace("ü".encode(), b"\xff\xff"))


SPOILED: list[tuple[str, Callable[[Path], object]]] = [
    ("is the beginning of a zip archive without its end", lambda file: file.write_bytes(file.read_bytes()[:-30])),
    ("is a zip archive of neither torch nor NumPy: a, b", lambda file: _zip(file, a=b"", b=b"")),
    ("is a damaged zip archive: ", _spoil_names),
    ("adamw has the arrays (nu); expected", lambda file: file.write_bytes(file.read_bytes().replace(b"mu/w", b"nu/w"))),
    ("array 'count' cannot be read: ", lambda file: file.write_bytes(file.read_bytes().replace(b"NUMPY", b"numpy"))),
    ("0 bytes are too few for a safetensors body", lambda file: file.write_bytes(b"")),
]


@pytest.mark.parametrize(("words", "spoil"), SPOILED)
def test_a_refused_file_changes_nothing(
    client: Client, optim: Optim, session: Session, tmp_path: Path, words: str, spoil: Callable[[Path], object]
) -> None:
    file = tmp_path / "state.npz"
    optim("export", session.id, str(file), "--format", "optax-npz")
    spoil(file)
    for arguments in ((str(file),), (session.id, str(file))):
        status, told, said = optim("import", *arguments)
        assert (status, told) == (1, "")
        assert words in said
        assert said.count("\n") == 1
    assert session.get().digest == session.digest
    assert len(list(client.sessions)) == 1
