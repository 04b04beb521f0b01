"""Previews of steps: the answers and refusals of the step, to the bit, and nothing that stays behind."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from app.errors import StepConflict
from app.store.memory import MemoryStore
from optim_engine import Config
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, W, create, problem, read_binary, serving, step, stepped
from tests.service.narrow import LIMITS
from tests.service.processes import CREATION, Counting, Process, request

SIZES = [2, 1 << 20, 1 << 21]
"""Elements of a tensor: a small step, and large ones, which may write over the state."""


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def previewed(client: Client, session: str, **body: Any) -> dict[str, Any]:
    """Return the answer of a preview that must not fail, without the member that tells it from a step's."""
    answer = client.post(f"{session}/preview", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document.pop("preview") is True
    return document


def seen(client: Client, session: str) -> list[bytes]:
    """Return all that can be seen of the session."""
    answers = [client.get(session + rest) for rest in ("", "/state", "/history")]
    return [answers[0].headers["etag"].encode(), *(answer.content for answer in answers)]


def test_a_step_after_its_preview_has_the_same_answer(client: Client) -> None:
    session = create(client, "adam", on_non_finite="skip", on_other_params="warn", clip={"global_norm": 0.1})
    wrong = {**W, "grads": {"w": ["NaN", 1.0]}}
    warned = []
    for body in (W, {**W, "step": 2, "loss": 0.5}, {**W, "lr": 0.5}, wrong, {**W, "step": 4}):
        before = seen(client, session)
        preview = previewed(client, session, **body)
        assert previewed(client, session, **body) == preview
        assert seen(client, session) == before
        assert stepped(client, session, **body) == preview
        warned += [text for text in preview["warnings"] if "first at step 2" in text]
    assert (preview["step"], len(warned)) == (4, 3)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_binary_preview_has_the_bytes_of_the_step(client: Client, size: int, hold: bool) -> None:
    session = create(client, hold_params=hold)
    w = np.linspace(-1, 1, size, dtype=np.float32)
    if hold:
        client.put(f"{session}/params", content=encode({"params": {"w": w}}, {}), headers={"content-type": SAFETENSORS})
    for number in (1, 2, 3):
        content = encode({"grads": {"w": w / number}} | ({} if hold else {"params": {"w": w}}), {"step": str(number)})
        paths = [f"{session}/{path}" for path in ("preview", "preview", "steps")]
        answers = [client.post(path, content=content, headers={"content-type": SAFETENSORS}) for path in paths]
        tensors, metadata = zip(*map(read_binary, answers), strict=True)
        assert [about.pop("preview", None) for about in metadata] == ["true", "true", None]
        assert metadata[0] == metadata[1] == metadata[2]
        assert tensors[0]["w"].tobytes() == tensors[1]["w"].tobytes() == tensors[2]["w"].tobytes()


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a number that is not next": ({**W, "step": 9}, 409, "step_conflict"),
    "a number that another body has": ({**W, "step": 1, "loss": 1.0}, 409, "step_conflict"),
    "other parameters": ({**W, "params": {"w": [7.0, 7.0]}}, 409, "params_conflict"),
    "a NaN": ({**W, "grads": {"w": ["NaN", 1.0]}}, 422, "non_finite"),
    "another shape": ({"params": {"w": [1.0]}, "grads": {"w": [1.0]}}, 422, "tensor_mismatch"),
    "an unknown member": ({**W, "gradients": {}}, 400, "malformed_body"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_preview_is_refused_as_the_step_is(client: Client, case: str) -> None:
    body, status, code = REFUSED[case]
    session = create(client, on_other_params="reject")
    stepped(client, session, **W, lr=0.0)
    before = seen(client, session)
    refused = problem(client.post(f"{session}/preview", json=body), status, code)
    assert refused == problem(step(client, session, **body), status, code)
    assert seen(client, session) == before


def test_a_preview_beyond_a_limit_is_refused() -> None:
    big = {"params": {"v": [0.0] * 40}, "grads": {"v": [0.0] * 40}}
    many = {name: {f"t{i}": [0.0] for i in range(LIMITS["max_tensors"])} for name in ("params", "grads")}
    for settings, code in (({"max_state_bytes": 100}, "quota_exceeded"), (LIMITS, "tensor_mismatch")):
        with serving(**settings) as client:
            session = create(client)
            stepped(client, session, **W)
            body = big if code == "quota_exceeded" else many
            refused = problem(client.post(f"{session}/preview", json=body), 403 if body is big else 422, code)
            assert refused["detail"] == step(client, session, **body).json()["detail"]


def test_the_last_step_is_answered_again_in_a_preview(client: Client) -> None:
    session = create(client)
    first = stepped(client, session, "a", **W, step=1)
    again = client.post(f"{session}/preview", json={**W, "step": 1})
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {**first, "preview": True}
    assert previewed(client, session, **W)["step"] == 2


def test_a_preview_takes_no_key(client: Client) -> None:
    session = create(client)
    answer = client.post(f"{session}/preview", json=W, headers={"idempotency-key": '"a"'})
    assert "leave Idempotency-Key out" in problem(answer, 400, "malformed_header")["detail"]


def test_a_preview_answers_the_tag_of_the_session(client: Client) -> None:
    session = create(client)
    tag = client.get(session).headers["etag"]
    assert client.post(f"{session}/preview", json=W, headers={"if-match": tag}).headers["etag"] == tag
    stepped(client, session, **W)
    problem(client.post(f"{session}/preview", json=W, headers={"if-match": tag}), 412, "precondition_failed")


def test_a_preview_counts_as_no_step() -> None:
    with serving() as client:
        previewed(client, create(client), **W)
        text = client.get("/metrics").text
        assert re.findall(r"optim_steps_total\{.*\} (.*)", text) == ["0.0", "0.0", "0.0"]


async def test_a_preview_sees_what_another_process_stepped() -> None:
    store = Counting()
    one, other = Process(store), Process(store)
    _, session, _ = await one.sessions.create("tenant", Config.parse("adamw"), CREATION)
    for number in (1, 2):
        await one.stepping.step("tenant", session.id, request(number))
    await other.stepping.step("tenant", session.id, request(3))
    with pytest.raises(StepConflict):
        await one.stepping.preview("tenant", session.id, request(3, 2.0))
    store.counted()
    preview = await one.stepping.preview("tenant", session.id, request(4))
    assert store.counted() == (1, 1, 0)
    assert (preview.kept, preview.preview) == ((await other.stepping.step("tenant", session.id, request(4))).kept, True)


@pytest.mark.parametrize("size", SIZES)
async def test_previews_beside_steps_change_no_bit(size: int) -> None:
    alone, beside = Process(MemoryStore(10)), Process(MemoryStore(10))
    ids = [(await p.sessions.create("tenant", Config.parse("adamw"), CREATION))[1].id for p in (alone, beside)]
    for number in range(1, 5):
        first = await alone.stepping.step("tenant", ids[0], request(number, size=size))
        preview = await beside.stepping.preview("tenant", ids[1], request(number, size=size))
        held = preview.params["w"].copy()
        second = await beside.stepping.step("tenant", ids[1], request(number, size=size))
        assert first.kept.digest == second.kept.digest == preview.kept.digest
        assert np.array_equal(preview.params["w"], held)
        assert np.array_equal(first.params["w"], second.params["w"])
        assert np.array_equal(first.params["w"], held)
