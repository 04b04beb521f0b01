"""The output of commands: tables, colour and numbers."""

import sys
from datetime import UTC, datetime, timedelta

import pytest

from app.commands.output import Column, ago, cut, echo_json, number, plain, styled, table

COLUMNS = [Column("id"), Column("step", right=True), Column("labels", flexible=True)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make standard output a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_table_aligns_its_columns() -> None:
    assert list(table(COLUMNS, [("a", "1", "run=x"), ("bcd", "12345", "")], None)) == [
        "id    step  labels",
        "a        1  run=x",
        "bcd  12345",
    ]


def test_a_table_counts_wide_characters_twice() -> None:
    assert list(table([Column("名"), Column("n")], [("a", "1")], None)) == ["名  n", "a   1"]


def test_only_flexible_columns_are_cut() -> None:
    lines = list(table(COLUMNS, [("0123456789", "12345", "run=a-long-label")], 30))
    assert lines[1] == "0123456789  12345  run=a-long…"
    assert max(map(len, lines)) == 30


def test_a_line_is_never_wider_than_the_terminal() -> None:
    assert list(table(COLUMNS, [("0123456789", "12345", "run=a-long-label")], 12))[1] == "0123456789 …"


def test_a_table_without_rows_has_its_head() -> None:
    assert list(table(COLUMNS, [], None)) == ["id  step  labels"]


def test_a_name_neither_breaks_the_line_nor_colours_it() -> None:
    assert plain("a\x1b[31mb\nc\u202ed") == "a�[31mb�c�d"
    assert "\x1b" not in "".join(table(COLUMNS, [("\x1b]0;x\x07", "1", "")], None))


def test_a_cut_text_ends_with_an_ellipsis() -> None:
    assert [cut("abcdef", 6), cut("abcdef", 5), cut("名名名", 4)] == ["abcdef", "abcd…", "名 …"]


@pytest.mark.usefixtures("terminal")
def test_colour_is_for_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert styled("a", bold=True) == "\x1b[1ma\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("a", bold=True) == "a"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert styled("a", bold=True) == "a"


def test_no_colour_goes_into_a_pipe() -> None:
    assert styled("a", bold=True) == "a"


def test_json_has_null_for_nan(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"loss": float("nan")}, one_line=True)
    assert capsys.readouterr().out == '{"loss":null}\n'


def test_numbers_have_four_digits() -> None:
    assert [number(0.000512345), number(123456.0), number(None)] == ["0.0005123", "1.235e+05", "–"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s ago"), (90, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago"), (-5, "0 s ago")]
)
def test_a_time_has_one_unit(seconds: int, words: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == words
