"""Curves as dots of braille."""

import numpy as np
import pytest

from app.commands.plot import LABEL, Curve, plot

DOWN = Curve(np.arange(1.0, 9), np.arange(8.0, 0, -1), "cyan")


def text(lines: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_a_falling_line_goes_from_corner_to_corner() -> None:
    title, *rows, axis = text(plot("loss", [DOWN], [], LABEL + 1 + 4, 4))
    assert title.strip() == "loss"
    assert [row[:LABEL].strip() for row in rows] == ["8", "1"]
    assert [row[LABEL + 1 :] for row in rows] == ["⠑⢄⠀⠀", "⠀⠀⠑⢄"]
    assert axis[LABEL + 1 :] == "1  8"


def test_every_line_fits_the_width() -> None:
    for width in (12, 40, 101):
        assert max(map(len, text(plot("loss", [DOWN], [(3.0, "red")], width, 9)))) <= width


def test_a_mark_stands_below_its_step() -> None:
    *_, axis = plot("loss", [DOWN], [(4.5, "red"), (99.0, "red")], LABEL + 1 + 9, 5)
    assert "".join(piece for piece, _ in axis)[LABEL + 1 :] == "1   ↶   8"
    assert ("↶", "red") in axis


def test_a_spike_between_two_columns_is_seen() -> None:
    y = np.zeros(10_000)
    y[5_000] = 1
    rows = text(plot("loss", [Curve(np.arange(10_000.0), y, "")], [], 60, 6))[1:-1]
    assert set(rows[0][LABEL + 1 :]) != {"⠀"}


def test_a_line_has_no_gaps_where_it_is_steep() -> None:
    rows = text(plot("loss", [Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "")], [], LABEL + 1 + 1, 12))[1:-1]
    assert all(row[-1] != "⠀" for row in rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_left_out(bad: float) -> None:
    holed = Curve(np.arange(1.0, 10), np.array([8.0, 7, 6, bad, 4, 3, 2, 1, bad]), "cyan")
    assert text(plot("loss", [holed], [], 30, 6)) == text(plot("loss", [DOWN], [], 30, 6))


@pytest.mark.parametrize("value", [0.0, 5.0, -1e300, 1e300])
def test_a_constant_is_a_line_in_the_middle(value: float) -> None:
    rows = text(plot("lr", [Curve(np.arange(3.0), np.full(3, value), "")], [], 30, 5))[1:-1]
    assert [set(row[LABEL + 1 :]) != {"⠀"} for row in rows] == [False, True, False]


def test_no_values_are_said_to_be_none() -> None:
    lines = text(plot("loss", [Curve(np.arange(2.0), np.full(2, np.nan), "")], [], 40, 6))
    assert len(lines) == 6
    assert lines[-1].strip() == "no values yet"


def test_the_last_curve_of_a_cell_gives_its_style() -> None:
    lines = plot("loss", [DOWN, DOWN._replace(style="red")], [], 30, 4)
    assert {style for line in lines[1:-1] for _, style in line} == {"dim", "", "red"}
