"""State files in memory: what is read is written again with the same content."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import Client, Rows
from optim_client._state_file import StateFile

from tests.client.training import some_params, train


def test_a_state_is_written_as_it_was_read(tmp_path: Path) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("adamw", hold_params=True, groups=[{"match": ["emb"], "sparse": "lazy"}])
        session.put_params({"emb": np.ones((4, 2), np.float32), **some_params()})
        session.step(grads={"emb": Rows([1], np.ones((1, 2), np.float32)), **some_params()})
        session.save_state(tmp_path / "saved")
        state = StateFile.read(tmp_path / "saved")
        state.write(tmp_path / "written")
        copy = client.sessions.create_from_state(tmp_path / "written")  # checks the digest
    assert copy.info.digest == session.info.digest
    assert state.slots["row_steps"]["emb"].tolist() == [0, 1, 0, 0]


def test_a_file_without_a_session_is_no_state_file(tmp_path: Path) -> None:
    StateFile({"tensors": {}}, {}).write(tmp_path / "formless")
    with pytest.raises(ValueError, match="format None"):
        StateFile.read(tmp_path / "formless")
    (tmp_path / "empty").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="no `session`"):
        StateFile.read(tmp_path / "empty")


W = {"shape": [1], "dtype": "float32", "step": 1}
DOCUMENT = {"format": 1, "optimizer": "adam", "step": 1, "groups": [{}], "tensors": {"w": W}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"optimizer": {}}, "must be a JSON object with an `optimizer`"),
        ({"groups": [1]}, "`groups` of `session` must be a list of objects"),
        ({"hyperparameters": [0.1]}, "`hyperparameters` and `tensors` of `session` must be objects"),
        ({"step": True}, "`step` of `session` must be a whole number"),
        ({"tensors": {"w": {**W, "step": "1"}}}, "shape, dtype and step of tensor 'w'"),
        ({"tensors": {"w": {**W, "shape": [-1]}}}, "shape, dtype and step of tensor 'w'"),
        ({"tensors": {"w": {**W, "group": 1}}}, "shape, dtype and step of tensor 'w'"),
        ({"tensors": {"w": {**W, "optimizer": []}}}, "shape, dtype and step of tensor 'w'"),
    ],
)
def test_a_document_of_other_types_is_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    StateFile(DOCUMENT, {}).write(path)
    assert StateFile.read(path).session == DOCUMENT
    StateFile({**DOCUMENT, **change}, {}).write(path)
    with pytest.raises(ValueError, match=why):
        StateFile.read(path)


def test_arrays_that_are_read_are_whole_copies_to_write_to(tmp_path: Path) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("adam")
        train(session, {"w": np.zeros(3, np.float32)}, range(1, 3))
        session.save_state(tmp_path / "saved")
    state = StateFile.read(tmp_path / "saved")
    state.slots["m"]["w"][0] = 5
    assert StateFile.read(tmp_path / "saved").slots["m"]["w"][0] != 5
