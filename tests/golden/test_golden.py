"""The golden files, in both directions: what the service answers to them, and what the Python client makes of them.

None of it depends on the time, on the session's id, or on the machine.
"""

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from optim_client import Client, NonFinite, OptimError, ParamsConflict, Rows, StepConflict, TensorMismatch

from tests.contract import GOLDEN
from tests.golden.cases import CASES
from tests.golden.make import FORMS, write
from tests.service.calls import bits, create, serving
from tests.wire import package

REFUSALS: dict[str, type[OptimError]] = {
    "conflict": StepConflict,
    "mismatch": TensorMismatch,
    "other-params": ParamsConflict,
    "reject": NonFinite,
}


def exchanges(case: str) -> list[tuple[Path, Path]]:
    """Return the requests of a case, each with its answer."""
    folder = GOLDEN / case
    numbers = range(1, len(CASES[case].steps) + 1)
    return [(next(folder.glob(f"{n}.request.*")), next(folder.glob(f"{n}.response.*"))) for n in numbers]


def test_there_is_a_folder_for_each_case() -> None:
    assert {folder.name for folder in GOLDEN.iterdir() if (folder / "session.json").exists()} == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_the_service_answers_and_replays_these_bytes(case: str) -> None:
    with serving() as client:
        session = create(client, **json.loads((GOLDEN / case / "session.json").read_text()))
        for request, expected in exchanges(case):
            headers = {"content-type": FORMS[request.suffix[1:]]}
            for again in (False, True):
                answer = client.post(f"{session}/steps", content=request.read_bytes(), headers=headers)
                assert answer.content == expected.read_bytes()
                assert ("idempotent-replayed" in answer.headers) == (again and answer.is_success)
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
        expected, answer = self._exchanges.popleft()
        assert request.read() == expected.read_bytes()
        assert request.headers["content-type"] == FORMS[expected.suffix[1:]]
        content = answer.read_bytes()
        if answer.suffix == ".bin":
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
        for step, (_, expected) in zip(run.steps, exchanges(case), strict=True):
            sent = step.params or (None if run.hold_params and step is not run.steps[0] else params)
            options = {name: getattr(step, name) for name in ("loss", "lr", "overrides", "grad_scale")}
            if expected.suffix == ".json":
                with pytest.raises(REFUSALS[case]):
                    (session if step.number > 1 else stale).step(sent, step.grads, **options)
                continue
            params = session.step(sent, step.grads, **options)
            written = package.load(expected.read_bytes())
            assert bits(_named(params)) == bits(written)


def test_the_files_are_what_their_maker_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    kept = {
        path.relative_to(GOLDEN): path.read_bytes() for path in GOLDEN.glob("*/*.*") if path.suffix in (".json", ".bin")
    }
    assert made == kept
