"""A training that is done twice: through the service, and by the engine in this process. They must be equal."""

import json
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from optim_client import _calls
from optim_client._protocol import Request, Response
from optim_client._tensors import Arrays, decode

from optim_engine import Config, Outcome, State, step
from tests.bodies import in_one
from tests.durability.wire import Wire

SETTINGS: dict[str, Any] = {
    "optimizer": "adamw",
    "hyperparameters": {"lr": 0.01, "amsgrad": True},
    "schedule": {"kind": "warmup_cosine", "warmup_steps": 20, "total_steps": 200},
    "clip": {"global_norm": 1.0},
    "on_non_finite": "skip",
}
"""Settings that reveal a lost step or a wrong replay."""
LOSS = 0.5


def init_params(rows: int = 8) -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {
        "weight": draw((rows, 300), np.float32),
        "bias": draw(300, np.float32),
        "wide": draw((3, 4)),
        "brain": draw(50).astype(ml_dtypes.bfloat16),
        "sometimes": draw(7, np.float32),
        "late": draw(5, np.float32),
    }


def names_of(number: int) -> list[str]:
    """Return the names of a step's tensors: most are in each step, one in every third, one from the 30th on."""
    always = ["weight", "bias", "wide", "brain"]
    return always + ["sometimes"] * (number % 3 == 0) + ["late"] * (number >= 30)


class Twin:
    """A session that is created through `wire`. Its largest tensor has `rows` of 300 float32."""

    settings: ClassVar = SETTINGS
    slots: ClassVar[tuple[str, ...]] = ("m", "v", "v_max")

    def __init__(self, wire: Wire, *, hold_params: bool, rows: int = 8) -> None:
        self.config = Config.parse(**self.settings, hold_params=hold_params)
        self.state = State.empty()
        self.params = init_params(rows)
        self.told: list[dict[str, Any]] = []
        """The metrics in each step's answer, which its row of the history must have."""
        self.id: str = wire.ask("POST", "/v1/sessions", {**self.settings, "hold_params": hold_params}, 201)["id"]

    @property
    def path(self) -> str:
        return f"/v1/sessions/{self.id}"

    def grads(self, seed: int = 0) -> Arrays:
        """Return the next step's gradients. They depend on the parameters, so that one difference never disappears."""
        number = self.state.t + 1
        draw = np.random.default_rng((number, seed)).standard_normal
        noise = {name: np.asarray(draw(self.params[name].shape)) for name in names_of(number)}
        return {name: (noise[name] + 0.1 * self.params[name]).astype(self.params[name].dtype) for name in noise}

    def request(self, grads: Arrays | None = None) -> Request:
        """Return the request for the next step, with a new idempotency key."""
        grads = self.grads() if grads is None else grads
        return in_one(_calls.step(self.id, self.state.t + 1, self._params(grads), grads, LOSS, None).request)

    def take(self, answer: Response, grads: Arrays | None = None) -> Outcome:
        """Take the step here, too, and compare it with the answer."""
        outcome = self.advance(grads)
        self.compare(answer, outcome)
        return outcome

    def advance(self, grads: Arrays | None = None) -> Outcome:
        """Take the next step here."""
        grads = self.grads() if grads is None else grads
        outcome = step(self.config, self.state, self._params(grads), grads)
        self.state, self.params = outcome.state, {**self.params, **outcome.params}
        return outcome

    def compare(self, answer: Response, outcome: Outcome) -> None:
        """Compare an answer with the outcome here. Answers must come in the order of their steps."""
        assert answer.status == 200, answer.body
        told = _calls.stepped(answer)
        assert bits(told.params) == bits(outcome.params), f"step {outcome.state.t} differs"
        assert (told.step, told.skipped) == (outcome.state.t, outcome.skipped)
        for name, value in vars(outcome.metrics).items():
            assert getattr(told.metrics, name) == pytest.approx(value, rel=1e-6, nan_ok=True), (
                name
            )  # a kernel's own sums
        metrics = json.loads(decode(answer.body, "params")[1]["metrics"])
        self.told.append({"step": told.step, "skipped": told.skipped, "loss": LOSS, **metrics})

    def check(self, wire: Wire) -> None:
        """Compare the service's history with the steps here, and its state to the bit."""
        rows = wire.ask("GET", f"{self.path}/history?limit=10000")["history"]
        assert [{name: row[name] for name in told} for row, told in zip(rows, self.told, strict=True)] == self.told
        document = wire.ask("GET", self.path)
        assert document["step"] == self.state.t
        assert {name: tensor["step"] for name, tensor in document["tensors"].items()} == self.state.counts
        state = wire.send(Request("GET", f"{self.path}/state"))
        for slot in (*self.slots, *["params"] * self.config.hold_params):
            kept = {name: self.state.array(name, slot) for name, e in self.state.entries.items() if slot in e.slots}
            assert bits(decode(state.body, slot)[0]) == bits(kept)

    def _params(self, grads: Arrays) -> Arrays:
        """Return the parameters to send: all, or those that the session does not hold yet."""
        held = self.state.held() if self.config.hold_params else {}
        return {name: self.params[name] for name in grads if name not in held}


def bits(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())}
