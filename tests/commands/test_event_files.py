"""Event files that cannot be written. `tests/peers/test_tensorboard.py` reads written ones, with TensorBoard itself."""

import sys
from pathlib import Path

import pytest
from optim_client import Client

from tests.command import Optim


@pytest.mark.long
def test_without_their_package_the_extra_is_named(
    optim: Optim, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    status, told, said = exported(optim, url, tmp_path)
    assert (status, told) == (1, "")
    assert "pip install 'optim-service[tensorboard]'" in said


def test_a_folder_with_files_is_refused(optim: Optim, url: str, tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"")
    status, told, said = exported(optim, url, tmp_path)
    assert (status, told) == (1, "")
    assert said == f"optim: {tmp_path} is not empty, and TensorBoard would mix the runs: give a new folder\n"


def exported(optim: Optim, url: str, folder: Path) -> tuple[int, str, str]:
    """Write event files of a new session into the folder."""
    with Client(url) as client:
        session = client.sessions.create("sgd")
    return optim("sessions", "history", session.id, "--tensorboard", str(folder), OPTIM_BASE_URL=url)
