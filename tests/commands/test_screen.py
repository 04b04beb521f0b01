"""The picture of `optim sessions watch`."""

import pytest
from optim_client import History, HistoryRow

from app.commands.curves import Curves
from app.commands.screen import frame
from tests.client.documents import ROW

FIRST, SECOND = "18ec7a8480" + "0" * 22, "18ec7a8483" + "0" * 22


def curves(undone: bool = False) -> Curves:
    rows = [HistoryRow.read({**ROW, "step": step, "loss": 1 / step}) for step in range(1, 50)]
    return Curves(History([*rows, HistoryRow.read({**ROW, "step": 50, "undone": undone})]))


@pytest.mark.parametrize(("width", "height"), [(100, 30), (60, 20), (30, 8), (20, 4)])
def test_a_picture_has_the_size_of_the_terminal(width: int, height: int) -> None:
    lines = frame({FIRST: curves(), SECOND: curves()}, width, height).plain.split("\n")
    assert len(lines) == height
    assert all(len(line) <= width for line in lines[2:])


def test_a_picture_names_its_sessions_and_curves() -> None:
    over = curves()
    over.is_over = True
    text = frame({FIRST: curves(undone=True), SECOND: over}, 100, 30).plain
    first, second, *rest = text.split("\n")
    assert first.startswith("● 18ec7a8480  step 49  loss 0.02041  lr 0.001  grad norm 0.361")
    assert first.endswith("↶ 1")
    assert second.startswith("● 18ec7a8483  step 50")
    assert second.endswith("gone")
    for name in ("loss", "lr", "grad norm"):
        assert any(name in line for line in rest)


def test_each_session_has_a_colour_of_its_own() -> None:
    spans = frame({FIRST: curves(), SECOND: curves()}, 100, 30).spans
    assert {"cyan", "magenta"} <= {str(span.style) for span in spans}


def test_many_sessions_leave_room_for_the_curves() -> None:
    lines = frame({f"{number:032x}": curves() for number in range(40)}, 80, 20).plain.split("\n")
    assert sum(line.startswith("●") for line in lines) == 12
    assert len(lines) == 20
