"""Exactly once, as a table: what key, number and body a request has, and what becomes of it.

A replay is the answer that was given, byte for byte, and changes nothing; nor does a refusal.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from httpx2 import Client

from app.store.keys import KeyMemory
from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, create, problem, read_binary, serving
from tests.service.runs import BAD, CONFLICT, FORMS, LATE, MISMATCH, STEP, Expected, Form, Run, assert_replay, check

PLACES = [("memory", form) for form in FORMS] + [("lmdb", "json held"), ("lmdb", "binary sent")]


@pytest.fixture(params=PLACES, ids=" ".join)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """A run whose restarts lose all that is not in the store."""
    place, form = request.param
    store = None if place == "lmdb" else MemoryStore(100)
    url = f"lmdb:{tmp_path}" if place == "lmdb" else "memory:"
    run = Run(lambda: serving(store, store=url), FORMS[form])
    yield run
    run.stop()


AFTER_TWO_STEPS: list[tuple[str | None, int | None, int, Expected]] = [
    ("two", 2, 2, Expected(again=2)),
    (None, 2, 2, Expected(again=2)),
    ("new", 2, 2, Expected(again=2)),
    ("two", 2, 9, MISMATCH),
    ("two", 3, 3, MISMATCH),
    ("two", None, 2, MISMATCH),
    ("one", 1, 1, LATE),
    ("one", 1, 9, MISMATCH),
    ("one", 2, 2, MISMATCH),
    ("one", 3, 3, MISMATCH),
    (None, 1, 1, CONFLICT),
    ("new", 1, 1, CONFLICT),
    (None, 2, 9, CONFLICT),
    ("new", 2, 9, CONFLICT),
    (None, 4, 4, CONFLICT),
    ("new", 4, 4, CONFLICT),
    (None, 3, 3, STEP),
    ("new", 3, 3, STEP),
    (None, None, 3, STEP),
    ("new", None, 2, STEP),
]
AFTER_TWO_STEPS_WITHOUT_NUMBERS: list[tuple[str | None, int | None, int, Expected]] = [
    ("two", None, 2, Expected(again=2)),
    ("two", None, 9, MISMATCH),
    ("two", 2, 2, MISMATCH),
    ("one", None, 1, LATE),
    ("one", None, 9, MISMATCH),
    (None, None, 2, STEP),
    ("new", None, 2, STEP),
    (None, 2, 2, CONFLICT),
]
AFTER_A_SKIP: list[tuple[str | None, int | None, int, Expected]] = [
    ("bad", 2, BAD, Expected(again=BAD)),
    (None, 2, BAD, Expected(again=BAD)),
    ("new", 2, BAD, Expected(again=BAD)),
    ("bad", 2, 2, MISMATCH),
    ("one", 1, 1, Expected(again=1)),
    (None, 1, 1, Expected(again=1)),
    ("one", 2, BAD, MISMATCH),
    ("new", 1, 9, CONFLICT),
    ("new", 3, 3, CONFLICT),
    ("new", 2, 2, STEP),
    (None, 2, 2, STEP),
]
AFTER_A_SKIP_AND_A_STEP: list[tuple[str | None, int | None, int, Expected]] = [
    ("two", 2, 2, Expected(again=2)),
    ("bad", 2, BAD, Expected(refused="step_conflict", skipped=True)),
    ("bad", 2, 2, MISMATCH),
    (None, 2, BAD, CONFLICT),
    ("one", 1, 1, LATE),
]


@pytest.mark.parametrize(
    "meanwhile", ["nothing", "a restart", "other settings", "other settings, twice, and a restart"]
)
class TestTable:
    """All rows on one session, for they change nothing; then the first of those that are a step."""

    def test_after_two_steps(self, run: Run, meanwhile: str) -> None:
        run.create(clip={"global_norm": 0.5}, schedule={"kind": "cosine", "total_steps": 10})
        answers = {1: run.sent("one", 1, 1), 2: run.sent("two", 2, 2)}
        self.check_all(run, meanwhile, answers, AFTER_TWO_STEPS)

    def test_after_two_steps_without_numbers(self, run: Run, meanwhile: str) -> None:
        run.create("sgd", hyperparameters={"momentum": 0.9})
        answers = {1: run.sent("one", None, 1), 2: run.sent("two", None, 2)}
        self.check_all(run, meanwhile, answers, AFTER_TWO_STEPS_WITHOUT_NUMBERS)

    def test_after_a_skip(self, run: Run, meanwhile: str) -> None:
        run.create("rmsprop", on_non_finite="skip")
        answers = {1: run.sent("one", 1, 1), BAD: run.sent("bad", 2, BAD)}
        self.check_all(run, meanwhile, answers, AFTER_A_SKIP)

    def test_after_a_skip_and_a_step(self, run: Run, meanwhile: str) -> None:
        run.create("adam", on_non_finite="skip")
        answers = {1: run.sent("one", 1, 1), BAD: run.sent("bad", 2, BAD), 2: run.sent("two", 2, 2)}
        self.check_all(run, meanwhile, answers, AFTER_A_SKIP_AND_A_STEP)

    def check_all(
        self,
        run: Run,
        meanwhile: str,
        answers: dict[int, httpx2.Response],
        table: list[tuple[str | None, int | None, int, Expected]],
    ) -> None:
        if "other settings" in meanwhile:
            run.patch(hyperparameters={"lr": 9.0, "weight_decay": 0.5}, groups=[], clip={"value": 1e-3})
        if "twice" in meanwhile:
            run.patch(hyperparameters={"lr": 3.0}, schedule={"kind": "constant"}, clip=None)
        if "a restart" in meanwhile:
            run.restart()
        before = run.seen()
        for key, number, body, expected in table:
            if expected is not STEP:
                check(run, answers, (key, number, body), expected)
        assert run.seen() == before
        for row in [row for row in table if row[3] is STEP][:1]:
            check(run, answers, row[:3], STEP)


@pytest.mark.parametrize("row", [row for row in AFTER_TWO_STEPS if row[3] is STEP], ids=str)
def test_each_request_that_is_new_is_a_step(row: tuple[Any, Any, Any, Expected], client: Client) -> None:
    run = Run(serving, FORMS["binary sent"])
    run.create()
    answers = {1: run.sent("one", 1, 1), 2: run.sent("two", 2, 2)}
    check(run, answers, row[:3], row[3])
    run.stop()


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("adamw", {"hyperparameters": {"amsgrad": True, "maximize": True}}),
    ("adam", {"hyperparameters": {"weight_decay": 0.1, "decoupled_weight_decay": True}}),
    ("adam", {"hyperparameters": {"weight_decay": 0.1}, "clip": {"value": 0.1}}),
    ("sgd", {"hyperparameters": {"weight_decay": 0.1}}),
    ("sgd", {"hyperparameters": {"momentum": 0.9, "nesterov": True}, "clip": {"global_norm": 0.1}}),
    ("rmsprop", {"hyperparameters": {"centered": True, "momentum": 0.9}}),
    ("nadam", {"hyperparameters": {"weight_decay": 0.1, "decoupled_weight_decay": True}}),
    ("adafactor", {"hyperparameters": {"weight_decay": 0.1}, "clip": {"global_norm": 0.1}}),
    ("radam", {"hyperparameters": {"betas": [0.9, 0.95]}}),
    ("adamax", {"hyperparameters": {"maximize": True}}),
    ("adagrad", {"hyperparameters": {"initial_accumulator_value": 0.1}}),
    ("yogi", {"hyperparameters": {"betas": [0.5, 0.9]}}),
    ("adabelief", {"hyperparameters": {"nesterov": True}}),
    ("ademamix", {"hyperparameters": {"weight_decay": 0.1}}),
    ("asgd", {"hyperparameters": {"lambd": 0.1}}),
    ("rprop", {"hyperparameters": {"lr": 0.1}}),
    ("adan", {"hyperparameters": {"weight_decay": 0.1}}),
    ("lion", {"hyperparameters": {"weight_decay": 0.1, "lr": 0.1}}),
    ("adadelta", {"hyperparameters": {"weight_decay": 0.1}}),
    ("lamb", {"hyperparameters": {"weight_decay": 0.1}}),
    ("lars", {"hyperparameters": {"nesterov": True, "weight_decay": 0.1}}),
    ("stable_adamw", {"hyperparameters": {"weight_decay": 0.1}}),
    ("schedule_free_adamw", {"hyperparameters": {"weight_decay": 0.1, "warmup_steps": 2}}),
    ("schedule_free_sgd", {"hyperparameters": {"weight_decay": 0.1}}),
    ("prodigy", {"hyperparameters": {"weight_decay": 0.1, "d0": 0.01}}),
    ("adamw", {"schedule": {"kind": "inverse_sqrt", "warmup_steps": 2}, "groups": [{"match": ["w"], "lr": 0.5}]}),
]


@pytest.mark.parametrize(("optimizer", "settings"), SETTINGS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_kind_of_step_is_replayed_with_the_same_bytes(
    form: Form, optimizer: str, settings: dict[str, Any]
) -> None:
    store = MemoryStore(100)
    run = Run(lambda: serving(store), form)
    run.create(optimizer, **settings)
    for number in range(1, 4):
        first = run.sent(f"key {number}", number, number)
        assert_replay(run.send(f"key {number}", number, number), first)
        run.restart()
        assert_replay(run.send(None, number, number), first)
    run.patch(hyperparameters={"lr": 7.0}, clip={"value": 1e-6}, schedule=None, groups=[])
    assert_replay(run.send(None, 3, 3), first)
    run.restart()
    assert_replay(run.send("key 3", 3, 3), first)
    run.stop()


def test_a_step_with_its_own_lr_is_replayed_with_it(client: Client) -> None:
    session = create(client)
    body = {"step": 1, "params": {"w": [1, 2]}, "grads": {"w": [3, 4]}, "lr": 0.3}
    first = client.post(f"{session}/steps", json=body)
    client.patch(session, json={"hyperparameters": {"lr": 0.7}})
    assert_replay(client.post(f"{session}/steps", json=body), first)
    assert first.json()["metrics"]["lr"] == 0.3


def test_an_answer_may_be_replayed_in_the_other_form(client: Client) -> None:
    session = create(client)
    body = {"step": 1, "params": {"w": [1, 2]}, "grads": {"w": [3, 4]}}
    first = client.post(f"{session}/steps", json=body)
    again = client.post(f"{session}/steps", json=body, headers={"accept": SAFETENSORS})
    assert again.headers["idempotent-replayed"] == "true"
    params, metadata = read_binary(again)
    assert params["w"].tolist() == np.float32(first.json()["params"]["w"]).tolist()
    assert metadata["digest"] == first.json()["digest"]


@pytest.mark.parametrize("what", ["params", "state"])
def test_a_step_that_was_overwritten_is_not_answered_again(run: Run, what: str) -> None:
    if what == "params" and not run.form.hold:
        run.form = Form(run.form.media_type, True)
    run.create()
    run.sent("one", 1, 1)
    state = run.client.get(f"{run.session}/state").content
    run.sent("two", 2, 2)
    run.put(what, run.form.params() if what == "params" else state)
    table = [
        ("two", 2, 2, Expected(refused="step_conflict", applied_as_step=2)),
        ("two", 2, 9, MISMATCH),
        ("one", 1, 1, LATE),
        (None, 1, 1, CONFLICT),
    ]
    at = 2 if what == "params" else 1
    for key, number, body, expected in [*table, (None, at + 1, 7, STEP)]:
        check(run, {}, (key, number, body), expected)


def test_a_refused_step_uses_neither_its_number_nor_its_key(run: Run) -> None:
    run.create()
    run.sent("one", 1, 1)
    for _ in range(2):
        problem(run.send("two", 2, BAD), 422, "non_finite")
    run.sent("two", 2, 2)


def test_the_first_of_two_skips_is_known_but_not_replayed(run: Run) -> None:
    run.create(on_non_finite="skip")
    run.sent("a", 1, BAD)
    run.sent("b", None, BAD)
    check(run, {}, ("a", 1, BAD), Expected(refused="step_conflict", skipped=True))
    check(run, {}, ("a", 1, 1), MISMATCH)


def test_old_keys_stay_known_while_the_store_keeps_them() -> None:
    store = MemoryStore(100)
    store.key_memory = KeyMemory(count=8, seconds=0)
    run = Run(lambda: serving(store), FORMS["binary sent"])
    run.create()
    for number in range(1, 10):
        run.sent(f"key {number}", number, number)
    run.restart()
    for number in range(2, 9):
        late = Expected(refused="step_conflict", applied_as_step=number)
        check(run, {}, (f"key {number}", number, number), late)
        check(run, {}, (f"key {number}", None, number), MISMATCH)
    check(run, {}, ("key 1", None, 1), STEP)
    run.stop()


def test_keys_are_a_session_s_own() -> None:
    run = Run(serving, FORMS["json sent"])
    run.create()
    run.sent("one", 1, 1)
    run.create()
    run.sent("one", 1, 2)
    run.stop()


def test_a_replay_is_no_second_row_of_the_history(client: Client) -> None:
    session = create(client)
    body = {"step": 1, "params": {"w": [1, 2]}, "grads": {"w": [3, 4]}}
    for _ in range(3):
        assert client.post(f"{session}/steps", json=body).status_code == 200
    assert len(client.get(f"{session}/history").json()["history"]) == 1
    assert client.get(session).json()["tensors"]["w"]["step"] == 1
