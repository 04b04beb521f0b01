"""The events of streams, from bytes that were cut anywhere."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optim_client import Event, InvalidAnswer
from optim_client._following import Following

from tests.client.documents import ROW
from tests.examples import examples

UNDO = {"event": "undo", "step": 41, "time": "2026-11-20T12:00:00Z", "undone": 42}
ROW_TEXT = b"event: step\nid: 6\ndata: " + json.dumps(ROW).encode() + b"\n\n"
UNDO_TEXT = b"event: undo\nid: 7\ndata: " + json.dumps(UNDO).encode() + b"\n\n"
STREAM = b"retry: 1000\nid: 5\n\n" + ROW_TEXT + b": alive\n\n" + UNDO_TEXT


@examples(quick=50, whole=1000)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=5), line=st.sampled_from([b"\n", b"\r\n"]))
def test_events_are_read_from_bytes_cut_anywhere(cuts: list[int], line: bytes) -> None:
    following = Following(None)
    following.begin()
    seen = []
    for start, end in pairwise([0, *sorted(cuts), len(STREAM)]):
        seen += following.events(STREAM[start:end].replace(b"\n", line))
    assert seen == [Event.read(6, "step", ROW), Event.read(7, "undo", UNDO)]
    assert following.number == 7


def test_a_stream_without_events_gives_the_place() -> None:
    following = Following(None)
    assert list(following.events(b"retry: 1000\nid: 5\n\n")) == []
    assert following.number == 5


def test_an_event_that_broke_off_is_dropped() -> None:
    following = Following(5)
    assert list(following.events(ROW_TEXT[:-1])) == []
    assert following.number == 5
    following.begin()
    assert list(following.events(b"id: 5\n\n" + UNDO_TEXT)) == [Event.read(7, "undo", UNDO)]


def test_kinds_of_a_later_service_are_left_out() -> None:
    following = Following(5)
    assert list(following.events(ROW_TEXT.replace(b"step\n", b"moon\n", 1) + UNDO_TEXT)) == [
        Event.read(7, "undo", UNDO)
    ]


@pytest.mark.parametrize(
    "bad",
    [b"event: step\nid: 6\ndata: {}\n\n", b"id: six\n\n", b"event: undo\nid: 6\ndata: [\n\n", b"event: step\n\n"],
)
def test_an_event_that_cannot_be_read_is_an_error(bad: bytes) -> None:
    with pytest.raises(InvalidAnswer, match="an event of the session cannot be read"):
        list(Following(None).events(bad))


def test_streams_begin_at_least_a_second_apart() -> None:
    now = 100.0
    following = Following(None, clock=lambda: now)
    assert following.pause() == 0
    following.begin()
    now = 100.25
    assert following.pause() == 0.75
    now = 109.0
    assert following.pause() == 0
