"""What versions of earlier formats left behind is opened and stepped on, to the bit; a newer format is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.store.base import FORMAT
from tests.chaos.trial import Trial
from tests.golden.cases import CASES
from tests.service.calls import SAFETENSORS, create, problem, serving
from tests.service.test_state import rewritten
from tests.upgrade.make import FOLDER, golden_answer, step
from tests.upgrade.stored import KINDS, Dump, text

FORMATS = sorted(folder.name for folder in FOLDER.glob("format-*"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty place for a store."""
    if kind == "redis":
        return str(request.getfixturevalue("redis_url"))
    (tmp_path / "store").mkdir()
    return f"lmdb:{tmp_path / 'store'}"


def kept(form: str, kind: str) -> Dump:
    dump: Dump = json.loads((FOLDER / form / f"{kind}.json").read_text())
    return dump


def mark_of(kind: str, dump: Dump) -> str:
    place: Any = dump
    for name in KINDS[kind].mark:
        place = place[name]
    return str(place)


def runs_of(form: str) -> set[str]:
    return {file.stem for file in (FOLDER / form).glob("*.safetensors")}


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("form", FORMATS)
def test_a_store_is_opened_and_stepped_on(trial: Trial, form: str, kind: str, url: str) -> None:
    KINDS[kind].write(url, kept(form, kind))
    with serving(store=url) as client:
        listed = client.get("/v1/sessions", params={"limit": 100}).json()["sessions"]
        assert {session["labels"]["run"] for session in listed} == runs_of(form)
        for session in listed:
            run, path = session["labels"]["run"], f"/v1/sessions/{session['id']}"
            last = len(CASES[run].steps)
            assert step(client, path, run, last - 1) == (golden_answer(run, last - 1), True)
            assert step(client, path, run, last) == (golden_answer(run, last), False)
            assert len(client.get(f"{path}/history").json()["history"]) == last
            trial.tried["sessions"] += 1
            trial.tried["steps answered again"] += 1
            trial.tried["new steps"] += 1
    assert mark_of(kind, KINDS[kind].read(url)) == text(b"%d" % FORMAT)  # which earlier versions refuse


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("form", FORMATS)
def test_state_files_are_taken_and_stepped_on(trial: Trial, form: str) -> None:
    with serving() as client:
        for run in sorted(runs_of(form)):
            session, file = create(client, **CASES[run].settings), (FOLDER / form / f"{run}.safetensors").read_bytes()
            newer = rewritten(file, lambda document: document.update(format=FORMAT + 1))
            refused = client.put(f"{session}/state", content=newer, headers={"content-type": SAFETENSORS})
            assert f"format {FORMAT + 1}" in problem(refused, 422, "invalid_state")["detail"]
            taken = client.put(f"{session}/state", content=file, headers={"content-type": SAFETENSORS})
            assert taken.status_code == 204, taken.text
            last = len(CASES[run].steps)
            assert step(client, session, run, last) == (golden_answer(run, last), False)
            trial.tried["state files"] += 1
            trial.tried["of a newer format refused"] += 1


@pytest.mark.requirement("R14")
def test_a_store_of_a_newer_format_is_refused_at_the_start_and_left_as_it_is(trial: Trial, kind: str, url: str) -> None:
    dump = kept(FORMATS[-1], kind)
    *path, mark = KINDS[kind].mark
    place: dict[str, Any] = dump
    for name in path:
        place = place[name]
    place[mark] = text(b"%d" % (FORMAT + 1))
    KINDS[kind].write(url, dump)
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--store={url}"]
    server = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert server.returncode == 1
    [line] = server.stderr.splitlines()
    assert f"has form {FORMAT + 1}, of a newer version of this service" in line
    assert line.endswith("run the newer version")
    assert KINDS[kind].read(url) == dump
    trial.tried["starts refused"] += 1
