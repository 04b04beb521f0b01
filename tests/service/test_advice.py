"""Warnings: what is said, in the answer and the session, where nothing is refused and something may be wrong."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app import advice
from app.store.memory import MemoryStore
from optim_engine import SCHEDULES, Config
from tests.service.calls import SAFETENSORS, binary_step, create, read_binary, serving, stepped

BF16 = ml_dtypes.bfloat16


def body(*names: str, **more: Any) -> dict[str, Any]:
    return {"params": {name: [1.0, 2.0] for name in names}, "grads": {name: [1.0, 1.0] for name in names}, **more}


def warnings(client: Client, session: str) -> list[str]:
    found: list[str] = client.get(session).json()["warnings"]
    return found


def test_a_step_that_is_well_has_no_warnings(client: Client) -> None:
    session = create(client, schedule={"kind": "cosine", "total_steps": 100})
    answer = stepped(client, session, **body("layer.weight", "layer.bias"))
    assert answer["warnings"] == warnings(client, session) == []


def test_a_step_of_renamed_tensors_is_warned_of_once(client: Client) -> None:
    session = create(client, "adam")
    stepped(client, session, **body("w", "b"))
    answer = stepped(client, session, **body("module.w", "module.b"))
    (line,) = answer["warnings"]
    assert line == (
        "none of a step's tensors ('module.w', 'module.b') was known, and none that was known ('b', 'w') is in it: "
        "moments begin anew; if names have changed, PATCH …/tensors renames what is known (first at step 2)"
    )
    again = stepped(client, session, params=answer["params"], grads=body("module.w", "module.b")["grads"])
    assert again["warnings"] == []
    assert warnings(client, session) == [line]


def test_new_tensors_beside_known_ones_are_not_warned_of(client: Client) -> None:
    session = create(client, "adam")
    first = stepped(client, session, **body("w"))["params"]
    second = stepped(client, session, params=first | body("v")["params"], grads=body("w", "v")["grads"])
    assert second["warnings"] == []
    assert stepped(client, session, params={"v": second["params"]["v"]}, grads=body("v")["grads"])["warnings"] == []


def test_many_names_are_cut_short(client: Client) -> None:
    session = create(client, "adam")
    stepped(client, session, **body("w"))
    names = [f"{'x' * 200}{i}" for i in range(500)]
    (line,) = stepped(client, session, **body(*names))["warnings"]
    assert "and 498 more" in line
    assert len(line) < 600


BIASES = ["bias_ih_l0", "bias_hh_l0_reverse", "dense/bias:0", "['dense']['bias']", "params.Dense_0.Bias", "BIAS"]


@pytest.mark.parametrize("name", BIASES)
def test_a_bias_that_is_decayed_is_warned_of(client: Client, name: str) -> None:
    session = create(client)
    (line,) = stepped(client, session, **body(name, "w"))["warnings"]
    assert line.startswith(f"groups: weight decay is on {name!r}, which the default group `*bias` does not match; say ")
    assert warnings(client, session) == [line]


@pytest.mark.parametrize("name", ["bias", "layer.0.bias", "in_proj_bias", "unbias", ".layers[0].bias", "weight"])
def test_a_spared_name_is_not_warned_of(client: Client, name: str) -> None:
    session = create(client)
    assert stepped(client, session, **body(name))["warnings"] == warnings(client, session) == []


@pytest.mark.parametrize(
    "settings",
    [{"groups": []}, {"groups": [{"match": ["bias_ih*"], "lr": 1}]}, {"hyperparameters": {"weight_decay": 0}}],
)
def test_a_bias_whose_decay_was_said_is_not_warned_of(client: Client, settings: dict[str, Any]) -> None:
    session = create(client, **settings)
    assert stepped(client, session, **body("bias_ih_l0"))["warnings"] == []
    assert stepped(client, create(client, "sgd"), **body("bias_ih_l0"))["warnings"] == []


def test_a_warning_says_how_to_escape_a_patterns_bracket(client: Client) -> None:
    session = create(client, groups=[{"match": ["layers[0].*"], "weight_decay": 0}])
    lines = stepped(client, session, **body("layers[0].w"))["warnings"]
    assert lines == warnings(client, session)
    (line,) = lines
    assert line == (
        "groups: the pattern 'layers[0].*' matches no tensor; `[` begins a set of characters, the character itself is "
        "written `[[]`"
    )
    fixed = create(client, groups=[{"match": ["layers[[]0].*"], "weight_decay": 0}])
    assert stepped(client, fixed, **body("layers[0].w"))["warnings"] == []


def test_layout_warnings_repeat_for_new_tensors_or_settings(client: Client) -> None:
    session = create(client, groups=[{"match": ["norm*"], "weight_decay": 0}])
    first = stepped(client, session, **body("w"))
    assert len(first["warnings"]) == 1
    second = stepped(client, session, params=first["params"], grads=body("w")["grads"])
    assert second["warnings"] == []
    client.patch(session, json={"groups": [{"match": ["head*"], "weight_decay": 0}]})
    third = stepped(client, session, params=second["params"], grads=body("w")["grads"])
    assert third["warnings"] == ["groups: the pattern 'head*' matches no tensor"]


def test_layout_warnings_are_made_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made, whole = [], advice._of_tensors
    monkeypatch.setattr(advice, "_of_tensors", lambda *args: made.append(1) or whole(*args))
    session = create(client)
    params = body("bias_ih_l0")["params"]
    for _ in range(5):
        params = stepped(client, session, params=params, grads=body("bias_ih_l0")["grads"])["params"]
        client.get(session)
    assert len(made) <= 2


LATE: list[tuple[dict[str, Any], str]] = [
    ({"kind": "polynomial", "total_steps": 10}, "0"),
    ({"kind": "cosine", "total_steps": 50, "min_factor": 0.25}, "0.25"),
    ({"kind": "warmup_cosine", "warmup_steps": 5, "total_steps": 20}, "0"),
    ({"kind": "linear_warmup", "warmup_steps": 20}, "1"),
    ({"kind": "warmup_stable_decay", "warmup_steps": 2, "stable_steps": 2, "decay_steps": 2, "min_factor": 0.5}, "0.5"),
    ({"kind": "exponential", "gamma": 1e-9}, "0"),
]
SIX_STEPS: dict[str, dict[str, Any]] = {
    "linear_warmup": {"warmup_steps": 6},
    "cosine": {"total_steps": 6},
    "warmup_cosine": {"warmup_steps": 2, "total_steps": 6},
    "step": {"step_size": 6},
    "exponential": {"gamma": 0.5},
    "polynomial": {"total_steps": 6},
    "inverse_sqrt": {"warmup_steps": 6},
    "warmup_stable_decay": {"warmup_steps": 2, "stable_steps": 1, "decay_steps": 3},
    "piecewise": {"boundaries": [2, 6], "factors": [1, 0, 0]},
    "cosine_restarts": {"period": 3},
    "one_cycle": {"total_steps": 6},
}
ENDING = {"cosine", "warmup_cosine", "polynomial", "warmup_stable_decay", "piecewise", "one_cycle"}
IN_TIME: list[dict[str, Any]] = [
    {"kind": "constant"},
    {"kind": "cosine", "total_steps": 51},
    {"kind": "inverse_sqrt", "warmup_steps": 10},
    {"kind": "exponential", "gamma": 0.9},
    {"kind": "polynomial", "total_steps": 10, "start_step": 50},
    {"kind": "linear_warmup", "warmup_steps": 20, "start_step": 31},
]


@pytest.fixture(scope="module")
def fifty_steps() -> bytes:
    """The state of a session after fifty steps."""
    with serving() as client:
        session = create(client, "sgd", on_other_params="accept")
        for _ in range(50):
            stepped(client, session, **body("w"))
        return client.get(f"{session}/state").content


def load(client: Client, session: str, file: bytes) -> None:
    answer = client.put(f"{session}/state", content=file, headers={"content-type": SAFETENSORS})
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize(("schedule", "factor"), LATE, ids=lambda x: x["kind"] if isinstance(x, dict) else x)
@pytest.mark.parametrize("how", ["loaded", "patched"])
def test_a_schedule_that_begins_past_its_end_is_warned_of(
    client: Client, fifty_steps: bytes, schedule: dict[str, Any], factor: str, how: str
) -> None:
    session = create(client, "sgd", schedule=schedule if how == "loaded" else None)
    load(client, session, fifty_steps)
    if how == "patched":
        client.patch(session, json={"schedule": schedule})
    (line,) = warnings(client, session)
    assert line == (
        f"schedule: it is past its end at step 51, and its factor stays {factor}; `start_step` 50 begins it there"
    )
    first = stepped(client, session, **body("w"))
    assert first["warnings"] == [line]
    second = stepped(client, session, params=first["params"], grads=body("w")["grads"])
    assert second["warnings"] == []
    assert warnings(client, session) == [line]
    client.patch(session, json={"schedule": {"start_step": 50}})
    assert warnings(client, session) == []
    third = stepped(client, session, params=second["params"], grads=body("w")["grads"])
    assert third["metrics"]["lr"] == 0.001 * _factor(schedule, 3)


def _factor(schedule: dict[str, Any], s: int) -> float:
    read = Config.parse("sgd", schedule=schedule).schedule
    assert read is not None
    return read.at(s)


@pytest.mark.parametrize("schedule", IN_TIME, ids=lambda x: x["kind"])
def test_a_schedule_that_still_goes_on_is_not_warned_of(
    client: Client, fifty_steps: bytes, schedule: dict[str, Any]
) -> None:
    session = create(client, "sgd", schedule=schedule)
    load(client, session, fifty_steps)
    assert stepped(client, session, **body("w"))["warnings"] == warnings(client, session) == []


@pytest.mark.parametrize(("schedule", "late"), [(LATE[3][0], False), (LATE[1][0], True)], ids=["warmup", "decay"])
@pytest.mark.parametrize("how", ["into itself", "anew"])
def test_a_restored_warmup_is_not_warned_of(
    client: Client, fifty_steps: bytes, schedule: dict[str, Any], late: bool, how: str
) -> None:
    session = create(client, "sgd", schedule={**schedule, "start_step": 50})
    load(client, session, fifty_steps)
    client.patch(session, json={"schedule": {"start_step": 0}})
    file = client.get(f"{session}/state").content
    if how == "into itself":
        load(client, session, file)
    else:
        made = client.post("/v1/sessions", content=file, headers={"content-type": SAFETENSORS})
        session = f"/v1/sessions/{made.json()['id']}"
    assert len(warnings(client, session)) == late


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("how", ["into itself", "anew"])
def test_a_resume_is_warned_of_only_past_the_last_step(client: Client, kind: str, how: str) -> None:
    """The state is saved before the last step of each schedule, and after it."""
    session = create(client, "sgd", schedule={"kind": kind, **SIX_STEPS.get(kind, {})}, on_other_params="accept")
    for step in range(1, 7):
        assert stepped(client, session, **body("w"))["warnings"] == []
        file = client.get(f"{session}/state").content
        resumed = session
        if how == "into itself":
            load(client, session, file)
        else:
            made = client.post("/v1/sessions", content=file, headers={"content-type": SAFETENSORS})
            resumed = f"/v1/sessions/{made.json()['id']}"
        over = step == 6 and kind in ENDING
        assert len(warnings(client, resumed)) == over, step


def test_a_schedule_that_ends_during_the_run_gives_no_warning(client: Client) -> None:
    session = create(client, "sgd", schedule={"kind": "cosine", "total_steps": 2}, on_other_params="accept")
    for _ in range(5):
        assert stepped(client, session, **body("w"))["warnings"] == []
    client.patch(session, json={"labels": {"a": "b"}})
    assert warnings(client, session) == []


@pytest.mark.parametrize("dtype", [BF16, np.float16])
def test_held_halves_that_stand_still_are_warned_of(client: Client, dtype: Any) -> None:
    session = create(client, hyperparameters={"lr": 1e-5, "weight_decay": 0}, hold_params=True)
    ones = {"w": np.ones(4, dtype), "v": np.ones(2, np.float32)}
    _, first = read_binary(binary_step(client, session, ones, ones))
    _, second = read_binary(binary_step(client, session, ones))
    name = np.dtype(dtype).name
    assert first["warnings"] == "[]"
    assert f"the parameter of 'w' has not moved, because {name} rounds so small an update away" in second["warnings"]
    assert "(first at step 2)" in second["warnings"]
    _, third = read_binary(binary_step(client, session, ones))
    assert third["warnings"] == second["warnings"]
    assert len(warnings(client, session)) == 1


@pytest.mark.parametrize("dtype", [BF16, np.float16])
def test_sent_halves_that_stand_still_are_warned_of_at_once(client: Client, dtype: Any) -> None:
    session = create(client, hyperparameters={"lr": 1e-5, "weight_decay": 0})
    ones = {"w": np.ones(4, dtype)}
    _, first = read_binary(binary_step(client, session, ones, ones))
    assert f"the parameter of 'w' has not moved, because {np.dtype(dtype).name}" in first["warnings"]
    assert "`wire_dtype`" in first["warnings"]


@pytest.mark.parametrize("hold", [False, True])
def test_still_halves_are_named_in_tensor_order(client: Client, hold: bool) -> None:
    session = create(client, hyperparameters={"lr": 1e-5, "weight_decay": 0}, hold_params=hold)
    ones = {f"w{n}": np.ones(1, BF16) for n in range(9)}
    binary_step(client, session, ones, ones)
    _, second = read_binary(binary_step(client, session, ones, None if hold else ones))
    assert "of 'w0', 'w1' and 7 more" in second["warnings"]


STILL: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "a gradient of zeros": ({}, BF16, [0.0, -0.0]),
    "a learning rate of zero": ({"hyperparameters": {"lr": 0}}, BF16, [1, 1]),
    "a group with a learning rate of zero": ({"groups": [{"match": ["w"], "lr": 0}]}, BF16, [1, 1]),
    "float32 that stands still": ({"hyperparameters": {"lr": 1e-12}}, np.float32, [1, 1]),
    "halves that move": ({"hyperparameters": {"lr": 1}}, BF16, [1, 1]),
}


@pytest.mark.parametrize(("settings", "dtype", "grad"), STILL.values(), ids=STILL)
@pytest.mark.parametrize("hold", [False, True])
def test_what_stands_still_for_another_reason_is_not_warned_of(
    client: Client, settings: dict[str, Any], dtype: Any, grad: Any, hold: bool
) -> None:
    session = create(client, hold_params=hold, **settings)
    params = {"w": np.ones(2, dtype), "moves": np.ones(2, np.float32)}
    grads = {"w": np.array(grad, dtype), "moves": np.ones(2, np.float32)}
    answered: Any = params
    for number in range(3):
        sent = None if hold and number else answered
        answered, metadata = read_binary(binary_step(client, session, grads, sent))
        assert metadata["warnings"] == "[]"


def test_float32_that_travels_in_halves_may_seem_to_stand_still(client: Client) -> None:
    session = create(client, hyperparameters={"lr": 1e-4, "weight_decay": 0}, hold_params=True, wire_dtype="bfloat16")
    client.put(f"{session}/params", json={"params": {"w": [1, 1]}})
    for _ in range(3):
        _, metadata = read_binary(binary_step(client, session, {"w": np.ones(2, BF16)}))
        assert metadata["warnings"] == "[]"


@pytest.mark.parametrize("scale", [0.0, 1e-7, 3e-5])
def test_float16_gradients_that_vanish_are_warned_of(client: Client, scale: float) -> None:
    session = create(client, hold_params=True, wire_dtype="float16")
    client.put(f"{session}/params", json={"params": {"w": [1, 1]}})
    _, metadata = read_binary(binary_step(client, session, {"w": np.float16([scale, 0])}))
    assert "the gradient of 'w' came in float16 and is below 6.1e-05 everywhere" in metadata["warnings"]


@pytest.mark.parametrize("grad", [np.float16([1e-3, 0]), np.float32([1e-7, 0]), np.zeros(2, BF16)])
def test_gradients_that_another_dtype_holds_are_not_warned_of(client: Client, grad: Any) -> None:
    session = create(client, hold_params=True, wire_dtype="bfloat16" if grad.dtype == BF16 else "float16")
    client.put(f"{session}/params", json={"params": {"w": [1, 1]}})
    assert read_binary(binary_step(client, session, {"w": grad}))[1]["warnings"] == "[]"


def test_warnings_outlive_a_restart_and_end_with_another_state(fifty_steps: bytes) -> None:
    store = MemoryStore(100)
    with serving(store) as client:
        session = create(client, "sgd")
        stepped(client, session, **body("w"))
        (line,) = stepped(client, session, **body("w"))["warnings"]
    with serving(store) as client:
        assert warnings(client, session) == [line]
        load(client, session, fifty_steps)
        assert warnings(client, session) == []
