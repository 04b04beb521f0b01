"""The command `optim bench`: its tables, its JSON, and a service that is not there."""

import json

import pytest

from app.bench import run
from tests.command import Optim


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the large steps small, and the connections few."""
    monkeypatch.setattr(run, "LARGE", 20_000)
    monkeypatch.setattr(run, "CONNECTIONS", (1, 2))


@pytest.mark.long
def test_the_tables_have_steps_and_rates(optim: Optim, url: str) -> None:
    status, words, said = optim("bench", "--url", url, "--seconds", "1")
    assert status == 0
    assert words.splitlines()[0].split() == [url, "1,000", "parameters", "20,000", "parameters"]
    for row in ("one step, median", "as JSON, median", "limited by", "steps/s"):
        assert f"\n{row} " in words
    assert said.startswith("steps of 1,000 parameters …\n")


def test_programs_get_json_of_a_bench(optim: Optim, url: str) -> None:
    _, words, _ = optim("bench", "--url", url, "--seconds", "1", "--json")
    document = json.loads(words)
    assert document["url"] == url
    assert [step["parameters"] for step in document["steps"]] == [1_000, 20_000]


def test_a_bench_of_nothing_is_refused(optim: Optim) -> None:
    status, _, said = optim("bench", "--url", "http://127.0.0.1:1")
    assert status == 4
    assert "no connection" in said
