"""The commands `optim sessions export` and `import`, as they are typed."""

import json
import os
from pathlib import Path

import httpx2
import pytest

from tests.command import Optim
from tests.commands.service import JSON, new_session


@pytest.mark.long
def test_an_export_names_the_missing_folder(optim: Optim, url: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "state.safetensors"
    status, _, words = optim("sessions", "export", new_session(url), str(file), "--url", url)
    assert (status, words) == (3, f"optim: [Errno 2] no such folder: '{file.parent}'\n")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_an_import_takes_a_file_and_at_most_one_session(optim: Optim, url: str, words: tuple[str, ...]) -> None:
    status, out, said = optim("sessions", "import", *words, "--url", url, COLUMNS="200")
    assert (status, out) == (2, "")
    assert "Missing argument '[ID] FILE'" in said or "expected at most one session, and one file" in said


def test_an_unreadable_file_is_reported_in_one_line(optim: Optim, url: str) -> None:
    for ids in ((), (new_session(url),)):
        status, _, words = optim("sessions", "import", *ids, "/nowhere", "--url", url)
        assert (status, words) == (3, "optim: [Errno 2] No such file or directory: '/nowhere'\n")


def test_a_state_is_exported_and_imported(optim: Optim, url: str, tmp_path: Path) -> None:
    here, there, file = new_session(url), new_session(url), str(tmp_path / "state.safetensors")
    step = b'{"params": {"w": [1]}, "grads": {"w": [1]}}'
    httpx2.post(f"{url}/v1/sessions/{here}/steps", content=step, headers=JSON).raise_for_status()
    for done in ("wrote", "replaced"):
        status, told, said = optim("sessions", "export", here, file, OPTIM_BASE_URL=url)
        assert (status, told, said) == (0, f"{done} {file}: step 1, {os.path.getsize(file):,} bytes\n", "")
    assert optim("sessions", "import", there, file, "--url", url) == (0, "", "")
    shown = json.loads(optim("sessions", "show", there, "--json")[1])
    assert (shown["id"], shown["step"], shown["tensors"]["w"]["shape"]) == (there, 1, [1])
    status, made, said = optim("sessions", "import", file)
    assert (status, said) == (0, "")
    shown = json.loads(optim("sessions", "show", made.strip(), "--json")[1])
    assert (shown["step"], shown["labels"], shown["hyperparameters"]["lr"]) == (1, {}, 0.001)
