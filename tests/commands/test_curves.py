"""The curves of a session that is watched."""

from typing import Any

import numpy as np
from optim_client import Event, History, HistoryRow

from app.commands.curves import POINTS, Curves
from tests.client.documents import ROW

TIME = "2026-11-20T12:00:00.{:03}Z"


def row(step: int, **members: Any) -> HistoryRow:
    return HistoryRow.read({**ROW, "step": step, "time": TIME.format(step % 1000), **members})


def step(number: int) -> Event:
    return Event(number, "step", number, row=row(number))


def test_skipped_and_undone_steps_are_no_points() -> None:
    past = History([row(1, loss=0.5), row(1, skipped=True), row(2, undone=True), row(2)])
    curves = Curves(past)
    steps, losses = curves.column("loss")
    assert steps.tolist() == [1, 2]
    assert losses[0] == 0.5
    assert np.isnan(losses[1])
    assert curves.undone == [2]


def test_an_undo_takes_back_points_and_leaves_a_mark() -> None:
    curves = Curves(History([row(1), row(2)]))
    curves.take(step(3))
    mark = {"event": "undo", "step": 2, "time": TIME.format(9), "undone": 3}
    curves.take(Event.read(5, "undo", mark))
    assert curves.column("lr")[0].tolist() == [1, 2]
    assert curves.undone == [3]


def test_a_loaded_state_drops_the_steps_behind_it() -> None:
    curves = Curves(History([row(1), row(2), row(3)]))
    mark = {"event": "settings", "step": 1, "time": TIME.format(9), "changed": {"step": [3, 1]}}
    curves.take(Event.read(5, "settings", mark))
    assert curves.column("lr")[0].tolist() == [1]
    assert curves.undone == []


def test_a_long_watch_keeps_a_bounded_number_of_points() -> None:
    curves = Curves(History([]))
    for number in range(1, 5 * POINTS):
        curves.take(Event(number, "step", number, row=HistoryRow.read({**ROW, "step": number})))
        assert len(curves.points) <= 2 * POINTS
    steps = curves.column("lr")[0]
    assert (steps[0], steps[-1]) == (1, 5 * POINTS - 1)
    assert np.all(np.diff(steps) > 0)


def test_the_speed_is_of_the_last_steps() -> None:
    curves = Curves(History([row(1)]))
    assert curves.speed is None
    for number in range(2, 101):
        curves.take(step(number))
    assert round(curves.speed or 0) == 1000
