"""The outline of a long history, as bytes."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import outline
from app.row_columns import bodies, read
from app.thinned import Thinned
from tests.examples import examples
from tests.service.test_thinned import made, rows_of

MARK = b'{"event":"settings","changed":{"step":[9,3]}}'


def texts_of(values: Any) -> list[bytes]:
    return [orjson.dumps(row) for row in made(values)]


def thinned(points: int, *pages: list[bytes]) -> Thinned:
    thin = Thinned(points)
    for page in pages:
        thin.add(read(page))
    return thin


@examples(quick=100, whole=5000)
@given(rows_of.filter(len), rows_of, st.integers(1, 40))
@pytest.mark.long
def test_a_history_goes_on_from_its_outline(values: Any, more: Any, points: int) -> None:
    texts = texts_of(values + more)
    first, rest = texts[: len(values)], texts[len(values) :]
    found = outline.read(outline.write(thinned(40, first), None))
    assert found is not None
    assert (found.last, found.step) == (first[-1], orjson.loads(first[-1])["step"])
    drawn = found.thinned.narrowed(points)
    drawn.add(read(rest))
    assert bodies(drawn.kept()) == bodies(thinned(points, first, rest).kept())


def test_an_outline_knows_the_last_loaded_state() -> None:
    for loaded in (None, MARK):
        found = outline.read(outline.write(thinned(40, texts_of([(1.0, 2.0, "plain")])), loaded))
        assert found is not None
        assert found.loaded == loaded


def test_an_outline_of_another_version_is_none() -> None:
    data = outline.write(thinned(40, texts_of([(1.0, 2.0, "plain")])), None)
    assert outline.read(data.replace(b'"format":1', b'"format":2')) is None
