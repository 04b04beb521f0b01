"""The past of a session and then its events; and how each of them reads."""

from optim_client import Event, History, HistoryRow

from app.commands.following import HEAD, later, line_of, short_ids, words_of
from tests.client.documents import ROW

TIME = "2026-11-20T12:00:0{}Z"


def step(number: int, second: int) -> Event:
    return Event.read(number, "step", {**ROW, "step": number, "time": TIME.format(second)})


def test_events_of_the_past_are_not_repeated() -> None:
    past = History([HistoryRow.read({**ROW, "step": 3, "time": TIME.format(3)})])
    undo = Event.read(5, "undo", {"event": "undo", "step": 3, "time": TIME.format(4), "undone": 4})
    events = [step(2, 2), step(3, 3), step(4, 3), undo]
    assert list(later(past, events)) == [step(4, 3), undo]  # type: ignore[arg-type]
    assert list(later(History(), events)) == events  # type: ignore[arg-type]


def test_a_row_stands_below_its_names() -> None:
    line = line_of(HistoryRow.read({**ROW, "step": 1234, "loss": 0.53, "skipped": True, "undone": True}))
    assert line.split() == ["1,234", "0.53", "0.001", "0.361", "0.0017", "0.70", line.split()[6], "skipped", "undone"]
    assert line.index("0.361") + len("0.361") == HEAD.index("grad norm") + len("grad norm")
    assert "–" in line_of(HistoryRow.read(ROW))


def test_an_undo_names_the_step_that_is_gone() -> None:
    mark = Event.read(5, "undo", {"event": "undo", "step": 41, "time": TIME.format(4), "undone": 42})
    assert words_of(mark).split()[:-1] == ["41", "after", "an", "undo", "of", "step", "42"]


def test_changed_settings_are_shown_old_and_new() -> None:
    changed = {"hyperparameters.lr": [0.001, 0.0005], "clip": [None, {"global_norm": 1.0}], "labels.\x1b": [None, "a"]}
    mark = Event.read(5, "settings", {"event": "settings", "step": 4, "time": TIME.format(4), "changed": changed})
    said = 'changed hyperparameters.lr 0.001 → 0.0005, clip – → {"global_norm": 1.0}, labels.� – → a'
    assert said in words_of(mark)


def test_short_ids_tell_sessions_apart() -> None:
    one, two = "18ec7a84" + "01" + "0" * 22, "18ec7a84" + "02" + "0" * 22
    assert short_ids([one]) == {one: "18ec7a84"}
    assert short_ids([one, two]) == {one: "18ec7a8401", two: "18ec7a8402"}
