"""Server-sent events as text."""

from app.store.history import Numbered
from app.wire.event_text import ALIVE, opening, written


def test_events_have_their_kind_number_and_one_line_of_data() -> None:
    events = [Numbered(7, "step", b'{"step":6}'), Numbered(9, "undo", b'{"event":"undo"}')]
    assert written(events) == (
        b'event: step\nid: 7\ndata: {"step":6}\n\nevent: undo\nid: 9\ndata: {"event":"undo"}\n\n'
    )
    assert written([]) == b""


def test_an_opening_and_a_comment_dispatch_no_event() -> None:
    for text in (opening(41), ALIVE):
        assert text.endswith(b"\n\n")
        assert b"data" not in text
    assert b"id: 41\n" in opening(41)
