"""The event files of `optim sessions history --tensorboard`, read back by TensorBoard itself."""

from pathlib import Path

import numpy as np
import pytest
from optim_client import Client, History
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.commands.event_files import write

ONE = {"w": np.ones(1, "f4")}


@pytest.fixture
def history() -> History:
    with Client("memory:") as client:
        session = client.sessions.create("sgd", undo=1, on_non_finite="skip")
        session.step(ONE, ONE, loss=0.5)
        session.step(ONE, {"w": np.float32([np.nan])}, loss=9)
        session.step(ONE, ONE, loss=8)
        session.undo()
        session.step(ONE, ONE, loss=0.25)
        session.step(ONE, ONE)
        return session.history()


def test_tensorboard_reads_each_column_of_the_steps_that_stayed(history: History, tmp_path: Path) -> None:
    write(history, tmp_path / "run")
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    columns = {"loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "duration_ms"}
    assert set(read.Tags()["scalars"]) == columns
    losses = read.Scalars("loss")
    assert [(event.step, event.value) for event in losses] == [(1, 0.5), (2, 0.25)]
    assert losses[0].wall_time == pytest.approx(history[0].time.timestamp())
    assert [event.step for event in read.Scalars("lr")] == [1, 2, 3]


def test_a_folder_with_files_is_refused(history: History, tmp_path: Path) -> None:
    write(history, tmp_path / "run")
    with pytest.raises(FileExistsError, match="give a new folder"):
        write(history, tmp_path / "run")
