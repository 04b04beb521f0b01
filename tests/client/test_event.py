"""Events and marks as objects."""

from datetime import UTC, datetime

from optim_client import Event, HistoryRow

from tests.client.documents import ROW

TIME = "2026-11-20T12:00:00Z"


def test_a_step_has_its_row() -> None:
    event = Event.read(7, "step", ROW)
    assert (event.number, event.kind, event.step, event.row, event.mark) == (7, "step", 1, HistoryRow.read(ROW), None)


def test_an_undo_names_the_step_that_is_gone() -> None:
    event = Event.read(8, "undo", {"event": "undo", "step": 41, "time": TIME, "undone": 42, "of_tomorrow": 1})
    assert (event.step, event.row) == (41, None)
    assert event.mark is not None
    assert (event.mark.time, event.mark.undone) == (datetime(2026, 11, 20, 12, tzinfo=UTC), 42)


def test_changed_settings_have_old_and_new_values() -> None:
    changed = {"hyperparameters.lr": [0.001, 0.0005], "clip": [None, {"global_norm": 1.0}]}
    event = Event.read(9, "settings", {"event": "settings", "step": 41, "time": TIME, "changed": changed})
    assert event.mark is not None
    assert event.mark.changed == {"hyperparameters.lr": (0.001, 0.0005), "clip": (None, {"global_norm": 1.0})}
