"""Top-k with error feedback: it converges where top-k alone does not, and no crash loses or doubles a packet."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optim_client import Client, TopK
from optim_client.compress import TopKFeedback

from app.demo import digits
from app.demo.server import Server
from tests.client import compressing

G = {"w": np.float32([[1, -4], [3, 2]]), "b": np.asarray(0.5, np.float32)}


def shown(grads: Any) -> dict[str, tuple[list[int], list[float]]]:
    return {name: (np.asarray(g.indices).tolist(), np.asarray(g.values).tolist()) for name, g in grads.items()}


def lists(arrays: Any) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}


def test_a_packet_leaves_the_smaller_elements_in_the_residual() -> None:
    feedback = TopKFeedback(0.5)
    packet = feedback.packet(G, 1, loss=np.float32(0.5), weight=3, base_step=np.int64(0))
    assert shown(packet.grads) == {"w": ([1, 2], [-4, 3]), "b": ([0], [0.5])}
    assert str(packet.options) == "{'step': 1, 'loss': 0.5, 'weight': 3, 'base_step': 0}"
    assert (feedback.step, feedback.residual) == (0, {})
    feedback.acknowledge()
    assert (feedback.step, lists(feedback.residual)) == (1, {"w": [[1, 0], [0, 2]], "b": 0})
    assert shown(feedback.packet(G, 2).grads)["w"] == ([1, 3], [-4, 4])


def test_a_dropped_packet_goes_back_into_the_residual() -> None:
    feedback = TopKFeedback(0.5)
    feedback.packet(G, 1)
    feedback.acknowledge(applied=False)
    assert (feedback.step, lists(feedback.residual)) == (0, lists(G))


def test_a_packet_is_the_same_until_it_is_acknowledged() -> None:
    feedback = TopKFeedback(0.5)
    first = feedback.packet({"layer": [G["w"]], "other": None}, 3)
    again = feedback.packet({"layer": [G["w"] + 9], "other": None}, 3, loss=7)
    assert (again.options, again.grads["other"]) == ({"step": 3}, None)
    assert again.grads["layer"][0] is first.grads["layer"][0]
    with pytest.raises(ValueError, match="the packet of step 3 is not acknowledged yet: send `pending` again"):
        feedback.packet(G, 4)
    with pytest.raises(ValueError, match="has gradients of layer/0, not of w, b"):
        feedback.packet(G, 3)
    feedback.acknowledge()
    with pytest.raises(ValueError, match="there is no packet"):
        feedback.acknowledge()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_the_residual_keeps_what_a_half_cannot_hold(dtype: Any) -> None:
    feedback, sent = TopKFeedback(1), np.zeros(3)
    for step in range(1, 4):
        packet = feedback.packet({"w": np.asarray([1, 2**-10, 3], dtype)}, step)
        sent += packet.grads["w"].values.astype(np.float64)
        feedback.acknowledge()
        feedback.residual["w"] += np.float32([2**-12, 0, 0])
    assert (sent + feedback.residual["w"]).tolist() == [3 + 3 * 2**-12, 3 * 2**-10, 9]


@pytest.mark.parametrize(
    ("grad", "words"),
    [
        (np.float32([1, np.nan, 0]), r"grads\['w'\], element 1 of the flat tensor, is nan"),
        (np.float32([1, 0, -np.inf]), "element 2 .* is -inf"),
        (np.float32([1, 2]), r"has the shape \[2\]; before it had \[3\]"),
        (np.float32([0, 3.4e38, 0]), "3.* with its residual, which no packet of float32 can hold"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_gradient_that_would_spoil_the_residual_is_refused(grad: Any, words: str) -> None:
    feedback = TopKFeedback(0.01)
    feedback.packet({"w": np.float32([3.39e38, 3.3e38, 0])}, 1)
    feedback.acknowledge()
    with pytest.raises(ValueError, match=words):
        feedback.packet({"v": np.float32([1]), "w": grad}, 2)
    assert (feedback.pending, list(feedback.residual)) == (None, ["w"])


@pytest.mark.parametrize("fraction", [0, -1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"fraction must be above 0 and at most 1, not"):
        TopKFeedback(fraction)


def test_a_file_has_residual_and_packet_to_the_bit(tmp_path: Path) -> None:
    feedback, grads = TopKFeedback(0.3), {"w": np.float64([1, 1e-300, -7]), "e": np.zeros((0, 4), np.float32)}
    feedback.packet(grads, 1)
    feedback.acknowledge()
    feedback.save(tmp_path / "file")
    assert TopKFeedback.load(tmp_path / "file").pending is None
    packet = feedback.packet(grads, 2, loss=float("inf"), return_params=False)
    feedback.save(tmp_path / "file")
    loaded = TopKFeedback.load(tmp_path / "file")
    assert loaded.pending
    assert (shown(loaded.pending.grads), loaded.pending.options) == (shown(packet.grads), packet.options)
    for each in (feedback, loaded):
        each.acknowledge()
    assert (loaded.step, loaded.fraction, lists(loaded.residual)) == (2, 0.3, lists(feedback.residual))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with Client("memory:") as client:
        client.sessions.create("sgd").save_state(tmp_path / "state")
    with pytest.raises(ValueError, match=r"is no file of TopKFeedback\.save"):
        TopKFeedback.load(tmp_path / "state")


def digits_loss(compress: str) -> float:
    """Return the loss on the digits after 150 steps of a linear classifier, with a fiftieth of the gradient."""
    train, _ = digits.load()
    hot = np.eye(10, dtype=np.float32)[train.labels]
    feedback = TopKFeedback(1 if compress == "none" else 0.02)
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=0.1, momentum=0.9, hold_params=True)
        session.put_params({"w": np.zeros((64, 10), np.float32)})
        w = session.params()["w"]
        for step in range(1, 151):
            batch = train.batch(step, 128)
            p = np.exp(batch.images @ w)
            p /= p.sum(1, keepdims=True)
            g = batch.images.T @ (p - np.eye(10, dtype=np.float32)[batch.labels]) / len(batch)
            packet = feedback.packet({"w": g}, step)
            w = session.step(grads=packet.grads, **packet.options)["w"]
            feedback.acknowledge()
            if compress == "forget":
                feedback.residual = {}
    p = np.exp(train.images @ w)
    return float(-np.log((p / p.sum(1, keepdims=True))[hot == 1]).mean())


@pytest.mark.long
def test_a_run_converges_because_of_the_feedback() -> None:
    dense, with_feedback, without = map(digits_loss, ("none", "feedback", "forget"))
    assert with_feedback < 1.05 * dense
    assert without > 1.2 * dense


@pytest.mark.long
def test_a_trainer_killed_between_sending_and_acknowledgement_goes_on(server: Server, tmp_path: Path) -> None:
    for folder in ("unbroken", "before", "after"):
        (tmp_path / folder).mkdir()
    unbroken = compressing.train(server.url, tmp_path / "unbroken")
    for death in ("before", "after"):
        command = [sys.executable, "-m", "tests.client.compressing", server.url, str(tmp_path / death), death]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == -signal.SIGKILL
        assert compressing.train(server.url, tmp_path / death) == unbroken


def test_the_packet_fits_a_session_that_holds_no_parameters() -> None:
    feedback = TopKFeedback(0.5)
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=1.0)
        packet = feedback.packet(G, 1, loss=1.0)
        assert isinstance(packet.grads["w"], TopK)
        assert lists(session.step(G, packet.grads, **packet.options)) == {"w": [[1, 0], [0, 2]], "b": 0}
