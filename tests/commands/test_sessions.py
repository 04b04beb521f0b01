"""The commands `optim sessions`, as they are typed."""

import json
import os
from pathlib import Path

import httpx2

from tests.command import Optim
from tests.commands.service import JSON, new_session


def test_sessions_are_listed_shown_moved_and_deleted(optim: Optim, url: str, tmp_path: Path) -> None:
    here, there, file = new_session(url), new_session(url), str(tmp_path / "state.safetensors")
    step = b'{"params": {"w": [1]}, "grads": {"w": [1]}}'
    httpx2.post(f"{url}/v1/sessions/{here}/steps", content=step, headers=JSON).raise_for_status()

    for done in ("wrote", "replaced"):
        status, told, said = optim("sessions", "export", here, file, OPTIM_BASE_URL=url)
        assert (status, told, said) == (0, f"{done} {file}: step 1, {os.path.getsize(file):,} bytes\n", "")
    assert optim("sessions", "import", there, file, "--url", url) == (0, "", "")
    shown = json.loads(optim("sessions", "show", there, "--url", url)[1])
    assert (shown["id"], shown["step"], shown["tensors"]["w"]["shape"]) == (there, 1, [1])
    status, made, said = optim("sessions", "import", file, "--url", url)
    assert (status, said) == (0, "")
    shown = json.loads(optim("sessions", "show", made.strip(), "--url", url)[1])
    assert (shown["step"], shown["labels"], shown["hyperparameters"]["lr"]) == (1, {}, 0.001)
    listed = optim("sessions", "list", "--url", url)[1].splitlines()
    assert [line.split()[0] for line in listed] == [made.strip(), there, here]
    assert optim("sessions", "delete", made.strip(), "--url", url) == (0, "", "")

    assert optim("sessions", "delete", there, "--url", url) == (0, "", "")
    status, out, words = optim("sessions", "show", there, "--url", url)
    assert (status, out) == (3, "")
    assert words.startswith(f"optim: unknown session '{there}'")
