"""Stores and state files of earlier formats: they are opened and stepped to the bit; newer ones are refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optim_client._tensors import decode

from app.store.formats import STORE_FORMAT
from tests.chaos.trial import Trial
from tests.golden.cases import CASES
from tests.service.calls import SAFETENSORS, create, problem, serving
from tests.service.state_files import rewritten
from tests.upgrade.make import FOLDER, golden_answer, step
from tests.upgrade.stored import KINDS, Dump, text

CLIPPED = {"adamw-json"}
FORMATS = sorted(folder.name for folder in FOLDER.glob("format-*"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store."""
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


def assert_alike(answer: bytes, golden: bytes, run: str) -> None:
    """Compare an answer with the golden one to the bit, but for norms and what was clipped by them.

    An earlier version computed other last digits of a norm.
    """
    (parts, metrics), (golden_parts, golden_metrics) = parsed(answer), parsed(golden)
    if run in CLIPPED:
        pairs = [(each.pop("params"), each.pop("digest"), each.pop("params_digest")) for each in (parts, golden_parts)]
        (params, *_), (golden_params, *_) = pairs
        assert params["w"][0] == pytest.approx(golden_params["w"][0], rel=1e-6)
    assert parts == golden_parts
    for name, value in metrics.items():
        assert value == golden_metrics[name] or value == pytest.approx(golden_metrics[name], rel=1e-6)


def parsed(answer: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an answer without its metrics, and the metrics."""
    if answer.startswith(b"{"):
        document = json.loads(answer)
        return document, document.pop("metrics")
    params, metadata = decode(answer, "params")
    metrics = json.loads(metadata.pop("metrics"))
    return {**metadata, "params": {name: array.tobytes() for name, array in params.items()}}, metrics


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("form", FORMATS)
def test_an_older_store_is_opened_and_stepped(trial: Trial, form: str, kind: str, url: str) -> None:
    KINDS[kind].write(url, kept(form, kind))
    with serving(store=url) as client:
        listed = client.get("/v1/sessions", params={"limit": 100}).json()["sessions"]
        assert {session["labels"]["run"] for session in listed} == runs_of(form)
        for session in listed:
            run, path = session["labels"]["run"], f"/v1/sessions/{session['id']}"
            last = len(CASES[run].steps)
            answer, replayed = step(client, path, run, last - 1)
            assert replayed
            assert_alike(answer, golden_answer(run, last - 1), run)
            answer, replayed = step(client, path, run, last, answer if run in CLIPPED else None)
            assert not replayed
            assert run in CLIPPED or answer == golden_answer(run, last)
            assert_alike(answer, golden_answer(run, last), run)
            assert len(client.get(f"{path}/history").json()["history"]) == last
            trial.tried["sessions"] += 1
            trial.tried["steps answered again"] += 1
            trial.tried["new steps"] += 1
    assert mark_of(kind, KINDS[kind].read(url)) == text(b"%d" % STORE_FORMAT)  # which earlier versions refuse


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("form", FORMATS)
def test_an_older_state_file_is_loaded_and_stepped(trial: Trial, form: str) -> None:
    with serving() as client:
        for run in sorted(runs_of(form)):
            session, file = create(client, **CASES[run].settings), (FOLDER / form / f"{run}.safetensors").read_bytes()
            newer = rewritten(file, lambda document: document.update(format=STORE_FORMAT + 1))
            refused = client.put(f"{session}/state", content=newer, headers={"content-type": SAFETENSORS})
            assert f"format {STORE_FORMAT + 1}" in problem(refused, 422, "invalid_state")["detail"]
            taken = client.put(f"{session}/state", content=file, headers={"content-type": SAFETENSORS})
            assert taken.status_code == 204, taken.text
            last = len(CASES[run].steps)
            answer, replayed = step(client, session, run, last)
            assert not replayed
            assert_alike(answer, golden_answer(run, last), run)
            trial.tried["state files"] += 1
            trial.tried["of a newer format refused"] += 1


@pytest.mark.requirement("R14")
def test_a_newer_format_is_refused_and_left_unchanged(trial: Trial, kind: str, url: str) -> None:
    dump = kept(FORMATS[-1], kind)
    *path, mark = KINDS[kind].mark
    place: dict[str, Any] = dump
    for name in path:
        place = place[name]
    place[mark] = text(b"%d" % (STORE_FORMAT + 1))
    KINDS[kind].write(url, dump)
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--store={url}"]
    server = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert server.returncode == 4
    [line] = server.stderr.splitlines()
    assert f"has format {STORE_FORMAT + 1}, of a newer version of this service" in line
    assert line.endswith("run the newer version")
    assert KINDS[kind].read(url) == dump
    trial.tried["starts refused"] += 1
