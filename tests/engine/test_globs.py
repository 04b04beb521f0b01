"""Globs mean what `fnmatchcase` makes of them, and take no longer than their length and the names'."""

import random
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine import Config, InvalidConfig
from optim_engine.globs import Globs, TooMuchWork, literal
from optim_engine.groups import LONGEST_PATTERN, MOST_PATTERNS

texts = st.text("ab-!]*?[^\\&~|é\n", max_size=10)
"""Texts of the characters that patterns are made of."""


@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_patterns_match_as_fnmatchcase_says(patterns: list[str], names: list[str]) -> None:
    matched, _ = Globs(patterns).match(names)
    assert matched == {
        name: sum(fnmatchcase(name, pattern) << i for i, pattern in enumerate(patterns)) for name in names
    }


@given(st.text(), st.text())
@pytest.mark.long
def test_any_text_matches_as_fnmatchcase_says(pattern: str, name: str) -> None:
    assert Globs([pattern]).match([name])[0][name] == fnmatchcase(name, pattern)


@given(texts, texts)
def test_a_literal_matches_its_name_alone(name: str, other: str) -> None:
    assert Globs([literal(name)]).match([name, other])[0] == {name: 1, other: int(name == other)}


@pytest.mark.parametrize(
    "pattern", ["*" + "[ab]" * 240 + "c*", "*a" * 500 + "b", "a" + "?*" * 500 + "c", "*" * 1000 + "c"]
)
def test_the_work_of_a_hostile_pattern_grows_linearly(pattern: str) -> None:
    short, long = (Globs([pattern]).match(["a" * n])[1] for n in (1_000, 10_000))
    assert long < 12 * short


def test_names_that_resemble_each_other_take_little_more_than_one() -> None:
    globs = Globs(["*" + "[ab]" * 240 + f"c*{i}" for i in range(MOST_PATTERNS)])
    _, one = globs.match(["a" * 244 + "0"])
    _, many = globs.match(["a" * 244 + str(i) for i in range(10_000)])
    assert many < 30 * one


def test_work_beyond_the_limit_is_refused() -> None:
    globs, names = Globs(["*a??????????????b*"]), [f"{i:016b}".replace("0", "b").replace("1", "a") for i in range(9999)]
    _, work = globs.match(names)
    assert globs.match(names, work)[1] == work
    with pytest.raises(TooMuchWork):
        globs.match(names, work - 1)


def test_the_most_and_longest_patterns_match_thousands_of_names() -> None:
    patterns = ["*[ab]" + "x?" * (LONGEST_PATTERN // 2 - 4) + f"{i:03}" for i in range(MOST_PATTERNS)]
    config = Config.parse("sgd", groups=[{"match": [pattern]} for pattern in patterns])
    names = [f"model.layers.{i}.weight" for i in range(10_000)]
    assert set(config.groups_of(names).values()) == {None}
    assert len(config.unmatched(names)) == MOST_PATTERNS


def test_patterns_that_would_take_minutes_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optim_engine.groups.MOST_WORK", 1_000_000)
    config = Config.parse("sgd", groups=[{"match": ["*a" + "?" * 200 + "c*"]}])
    chance = random.Random(1)
    names = ["".join(chance.choices("ab", k=200)) for _ in range(100)]
    with pytest.raises(InvalidConfig, match="matching 1 patterns against 100 names takes too long; use fewer"):
        config.groups_of(names)
    assert set(config.groups_of(names, limited=False).values()) == {None}
    with pytest.raises(InvalidConfig, match="takes too long"):
        config.groups_of([*names, "one more"])  # what the others took is counted


def test_names_that_are_asked_for_no_more_are_forgotten() -> None:
    config = Config.parse("sgd", groups=[{"match": ["a*"], "lr": 1}])
    for i in range(10):
        assert set(config.groups_of([f"a{i}.{j}" for j in range(100)]).values()) == {0}
    assert len(config._grouping._matched) <= 300
