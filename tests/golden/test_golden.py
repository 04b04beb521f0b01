"""The golden files, in both directions: what the service answers to them, and what the Python client makes of them.

None of it depends on the time, on the session's id, or on the machine.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from optim_client import Client, NonFinite, OptimError, ParamsConflict, Rows, Session, StepConflict, TensorMismatch

from tests.contract import GOLDEN
from tests.golden.cases import CASES, Other, Step
from tests.golden.make import FORMS, write
from tests.service.calls import bits, create, serving
from tests.wire import package

REFUSALS: dict[str, type[OptimError]] = {
    "conflict": StepConflict,
    "mismatch": TensorMismatch,
    "other-params": ParamsConflict,
    "reject": NonFinite,
}


@dataclass(frozen=True)
class Exchanged:
    """A call with its answer: what is sent to which path below the session's, and the file or document that answers."""

    path: str
    headers: Mapping[str, str]
    request: bytes
    answer: Path | Mapping[str, Any]


def exchanges(case: str) -> list[Exchanged]:
    """Return the calls of a case, each with its answer."""
    folder = GOLDEN / case
    file = folder / "calls.json"
    calls = json.loads(file.read_text()) if file.exists() else {}
    return [exchanged(folder, n, calls.get(str(n), {})) for n in range(1, len(CASES[case].steps) + 1)]


def exchanged(folder: Path, number: int, call: Mapping[str, Any]) -> Exchanged:
    """Return a call from its files, or from `calls.json` alone where it is no step."""
    path = call.get("path", "steps")
    if "body" in call:
        return Exchanged(path, {"content-type": FORMS["json"]}, json.dumps(call["body"]).encode(), call["answer"])
    request, answer = next(folder.glob(f"{number}.request.*")), next(folder.glob(f"{number}.response.*"))
    headers = {"content-type": FORMS[request.suffix[1:]], **call.get("headers", {})}
    return Exchanged(path, headers, request.read_bytes(), answer)


def test_there_is_a_folder_for_each_case() -> None:
    assert {folder.name for folder in GOLDEN.iterdir() if (folder / "session.json").exists()} == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_the_service_answers_and_replays_these_bytes(case: str) -> None:
    with serving() as client:
        session = create(client, **json.loads((GOLDEN / case / "session.json").read_text()))
        for call in exchanges(case):
            for again in (False, True):
                if isinstance(call.answer, Path):
                    answer = client.post(f"{session}/{call.path}", content=call.request, headers=call.headers)
                    check(answer, call.answer, replayed=again and call.path == "steps")
                elif not again:
                    answer = client.post(f"{session}/{call.path}", content=call.request, headers=call.headers)
                    assert call.answer.items() <= answer.json().items()


def check(answer: httpx2.Response, expected: Path, *, replayed: bool) -> None:
    """Check an answer against its golden file."""
    assert answer.content == expected.read_bytes()
    assert ("idempotent-replayed" in answer.headers) == (replayed and answer.is_success)
    media_type = FORMS[expected.suffix[1:]] if answer.is_success else "application/problem+json"
    assert answer.headers["content-type"] == media_type


class Exchange(httpx2.BaseTransport):
    """In the place of a service: creates a session, then answers each request if it is the next golden one."""

    def __init__(self, case: str) -> None:
        with serving() as client:
            self._created = client.post("/v1/sessions", json=CASES[case].settings)
        self._exchanges = deque(exchanges(case))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/sessions":
            return httpx2.Response(201, headers=self._created.headers, content=self._created.content)
        call = self._exchanges.popleft()
        assert request.url.path.endswith(f"/{call.path}")
        assert {name: request.headers.get(name) for name in call.headers} == call.headers
        if not isinstance(call.answer, Path):
            assert json.loads(request.read()) == json.loads(call.request)
            return httpx2.Response(200, json={**self._created.json(), **call.answer})
        assert request.read() == call.request
        return answered(call.answer)


def answered(file: Path) -> httpx2.Response:
    """Return a golden answer as HTTPX has it."""
    content = file.read_bytes()
    if file.suffix == ".bin":
        return httpx2.Response(200, headers={"content-type": FORMS["bin"]}, content=content)
    status = json.loads(content)["status"]
    retry = {"x-should-retry": "false"} if status == 409 else {}
    headers = {"content-type": "application/problem+json", **retry}
    return httpx2.Response(status, headers=headers, content=content)


def _named(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer's arrays by the names that they have in a body."""
    rows = {name: x for name, x in params.items() if isinstance(x, Rows)}
    found = {f"params/{name}": rows[name].values if name in rows else x for name, x in params.items()}
    return {**found, **{f"rows/{name}": x.indices for name, x in rows.items()}}


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.binary])
def test_the_python_client_writes_these_requests_and_reads_these_answers(case: str) -> None:
    run = CASES[case]
    settings = {**run.settings, **run.settings.get("hyperparameters", {})}
    settings.pop("hyperparameters", None)
    with Client("http://localhost", transport=Exchange(case)) as client:
        session, stale = (client.sessions.create(**settings) for _ in range(2))
        params = run.params
        for step, call in zip(run.steps, exchanges(case), strict=True):
            if isinstance(step, Other):
                assert isinstance(call.answer, Mapping)
                read_other(session, step, call.answer)
                continue
            sent = step.params or (None if run.hold_params and step is not run.steps[0] else params)
            assert isinstance(call.answer, Path)
            if call.answer.suffix == ".json":
                with pytest.raises(REFUSALS[case]):
                    (session if step.number > 1 else stale).step(sent, step.grads, **options_of(step))
                continue
            params = read_step(session, step, sent, call.answer) or params


def options_of(step: Step) -> dict[str, Any]:
    """Return the options of a step, as keywords."""
    return {name: getattr(step, name) for name in ("loss", "lr", "overrides", "grad_scale")}


def read_step(session: Session, step: Step, sent: Any, answer: Path) -> Any:
    """Take a step, and check what it returns against its answer; return its parameters, if it has some."""
    written = package.load(answer.read_bytes())
    if step.preview:
        assert bits(_named(session.preview(sent, step.grads, **options_of(step)).params)) == bits(written)
        return None
    params = session.step(sent, step.grads, return_params=not step.minimal, **options_of(step))
    assert bits(_named(params or {})) == bits(written)
    return params


def read_other(session: Session, other: Other, answer: Mapping[str, Any]) -> None:
    """Make a call that is no step, and check the session that it returns."""
    if other.path == "undo":
        session.undo()
    found = session if other.path == "undo" else session.fork(**other.body)
    assert answer.items() <= {name: getattr(found.info, name) for name in answer}.items()


@pytest.mark.long
def test_the_files_are_what_their_maker_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    kept = {
        path.relative_to(GOLDEN): path.read_bytes() for path in GOLDEN.glob("*/*.*") if path.suffix in (".json", ".bin")
    }
    assert made == kept
