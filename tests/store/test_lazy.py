"""Fields of bytes that are written when somebody reads them."""

from dataclasses import dataclass

import pytest

from app.store.lazy import Lazy


@dataclass(frozen=True)
class Note:
    text: Lazy = Lazy()
    number: int = 0


def test_a_field_has_the_bytes_that_it_was_given() -> None:
    assert Note(b"text").text == b"text"
    assert Note(b"text") == Note(b"text")
    assert Note(b"text") != Note(b"other")


def test_a_function_writes_the_bytes_when_they_are_read() -> None:
    calls = []

    def text() -> bytes:
        calls.append(1)
        return b"text"

    note = Note(text)
    assert calls == []
    assert (note.text, note.text, len(calls)) == (b"text", b"text", 2)
    assert note == Note(b"text")


def test_a_field_has_no_default() -> None:
    with pytest.raises(TypeError, match="text"):
        Note()  # type: ignore[call-arg]
