"""The change that a step makes: previewed, computed, and replayed with the same bits."""

from dataclasses import replace

import numpy as np

from app.change import Change
from app.changes import create
from app.room import Room
from app.session import Loaded, Session
from app.step import StepRequest
from app.step_change import preview, replay, step
from optim_engine import Config, State
from optim_engine.machine import ALONE
from tests.service.calls import bits
from tests.wire.steps import ONCE

ROOM = Room(9, 1 << 20, 1 << 20)
W = {"w": np.float32([1, 2])}
HALVES = {"w": np.float16([1, 2])}
PLAIN = Config.parse("adam")
REQUEST = StepRequest(grads=W, params=W, once=ONCE)


def loaded(change: Change) -> Loaded:
    return Loaded(change.save.head, change.session, change.state or State.empty())


def created(config: Config = PLAIN) -> Loaded:
    return loaded(create(Session("id", "tenant", config, 1.0, 2.0), None, ROOM, claimed=False))


def test_a_preview_has_the_answer_and_keeps_the_etag() -> None:
    old = created()
    _, previewed = preview(old, REQUEST, ALONE, ROOM)
    _, answer = step(old, REQUEST, ALONE, ROOM, None)
    assert (previewed.preview, previewed.etag) == (True, old.head.etag)
    assert bits(previewed.params) == bits(answer.params)
    assert previewed.kept == answer.kept


def test_a_replay_repeats_the_answer_from_the_saved_state() -> None:
    change, answer = step(created(), REQUEST, ALONE, ROOM, None)
    again = replay(loaded(change), answer.kept, REQUEST)
    assert bits(again.params) == bits(answer.params)
    assert replace(again, params=answer.params, replayed=False) == answer


def test_an_aggregate_of_halves_is_answered_and_replayed_as_halves() -> None:
    config = Config.parse("adam", hold_params=True)
    begun = created(config)
    first, _ = step(begun, StepRequest(grads=HALVES, params=HALVES, once=ONCE), ALONE, ROOM, None)
    mean = StepRequest(grads={"w": np.float32([1.0001, 2])}, dtypes={"w": np.dtype(np.float16)}, once=ONCE)
    change, answer = step(loaded(first), mean, ALONE, ROOM, None)
    assert answer.params["w"].dtype == np.float16
    assert bits(replay(loaded(change), answer.kept, mean).params) == bits(answer.params)
