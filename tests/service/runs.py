"""Runs of steps, each with a key, a number and a body, and the check of what becomes of each."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import orjson
from httpx2 import Client

from tests.bodies import encode
from tests.service.calls import SAFETENSORS, create, problem

BAD = -1
"""The body whose gradient is not finite."""


@dataclass(frozen=True)
class Form:
    """The media type of a test's steps, and a flag for held parameters."""

    media_type: str
    hold: bool

    def content(self, number: int | None, body: int) -> bytes:
        """A step of two tensors. The parameters stand in another order than the gradients."""
        draw = np.random.default_rng(abs(body)).standard_normal
        params = {"w": draw((2, 2), np.float32), "b": draw(2, np.float32)}
        grads = {"b": draw(2, np.float32), "w": draw((2, 2), np.float32)}
        if body == BAD:
            grads["b"][1] = np.nan
        sections = {"grads": grads} if self.hold and body != 0 else {"params": params, "grads": grads}
        if self.media_type == SAFETENSORS:
            return encode(sections, {} if number is None else {"step": str(number)})
        written = {name: {n: _base64(array) for n, array in arrays.items()} for name, arrays in sections.items()}
        return orjson.dumps(written | ({} if number is None else {"step": number}))

    def params(self) -> bytes:
        """For `PUT …/params`, as safetensors."""
        return encode({"params": {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}}, {})


def _base64(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": array.shape, "base64": b64encode(array.tobytes()).decode()}


FORMS = {
    f"{kind} {what}": Form(media_type, hold)
    for kind, media_type in (("json", "application/json"), ("binary", SAFETENSORS))
    for what, hold in (("sent", False), ("held", True))
}


class Run:
    """A session under test, on a service that can be started anew."""

    def __init__(self, start: Callable[[], Any], form: Form) -> None:
        self._start, self.form = start, form
        self._serving = start()
        self.client: Client = self._serving.__enter__()
        self.session = ""

    def create(self, optimizer: str = "adamw", **settings: Any) -> None:
        self.session = create(self.client, optimizer, hold_params=self.form.hold, **settings)
        if self.form.hold:
            self.put("params", self.form.params())

    def put(self, what: str, content: bytes) -> None:
        answer = self.client.put(f"{self.session}/{what}", content=content, headers={"content-type": SAFETENSORS})
        assert answer.status_code == 204, answer.text

    def send(self, key: str | None, number: int | None, body: int) -> httpx2.Response:
        headers = {"content-type": self.form.media_type} | ({} if key is None else {"idempotency-key": f'"{key}"'})
        return self.client.post(f"{self.session}/steps", content=self.form.content(number, body), headers=headers)

    def sent(self, key: str | None, number: int | None, body: int) -> httpx2.Response:
        """A step that must be taken, and not be a replay."""
        answer = self.send(key, number, body)
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, None), answer.text
        return answer

    def patch(self, **changes: Any) -> None:
        assert self.client.patch(self.session, json=changes).status_code == 200

    def restart(self) -> None:
        self.stop()
        self._serving = self._start()
        self.client = self._serving.__enter__()

    def stop(self) -> None:
        self._serving.__exit__(None, None, None)

    @property
    def step(self) -> int:
        return int(self.client.get(self.session).json()["step"])

    def seen(self) -> tuple[str, bytes, bytes]:
        """All that can be seen of the session."""
        session = self.client.get(self.session)
        return session.headers["etag"], session.content, self.client.get(f"{self.session}/history").content


@dataclass(frozen=True)
class Expected:
    """The result of a request: the answer `again` to an earlier one, a refusal by its code, or (neither) a step."""

    again: int | None = None
    refused: str | None = None
    applied_as_step: int | None = None
    skipped: bool | None = None


STEP = Expected()
CONFLICT = Expected(refused="step_conflict")
MISMATCH = Expected(refused="idempotency_mismatch")
LATE = Expected(refused="step_conflict", applied_as_step=1)
STATUS = {"step_conflict": 409, "idempotency_mismatch": 422}


def check(run: Run, answers: dict[int, httpx2.Response], asked: tuple[Any, Any, Any], expected: Expected) -> None:
    if expected is STEP:
        at = run.step
        run.sent(*asked)
        assert run.step == at + 1
        return
    answer = run.send(*asked)
    if expected.again is not None:
        assert_replay(answer, answers[expected.again])
        return
    assert expected.refused
    refused = problem(answer, STATUS[expected.refused], expected.refused)
    if expected.refused == "step_conflict":
        assert refused["current_step"] == run.step
        assert answer.headers["x-should-retry"] == "false"
        assert refused.get("applied_as_step") == expected.applied_as_step
        assert refused.get("skipped") == expected.skipped


def assert_replay(answer: httpx2.Response, first: httpx2.Response) -> None:
    assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, "true"), answer.text
    assert answer.content == first.content
    assert answer.headers["content-type"] == first.headers["content-type"]
