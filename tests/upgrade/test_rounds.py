"""Stores with open rounds of earlier formats of ledgers: the rounds become the same steps, to the bit."""

import json
from pathlib import Path

import pytest

from tests.chaos.trial import Trial
from tests.upgrade.make_rounds import FOLDER, finished
from tests.upgrade.stored import KINDS

FORMATS = sorted(folder.name for folder in FOLDER.glob("ledger-*"))


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_open_round_becomes_its_step(
    trial: Trial, form: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = str(request.getfixturevalue("redis_url")) if kind == "redis" else f"lmdb:{tmp_path}"
    KINDS[kind].write(url, json.loads((FOLDER / form / f"{kind}.json").read_text()))
    answers = finished(url)
    assert answers == json.loads((FOLDER / form / "answers.json").read_text())
    trial.tried["rounds"] += len(answers)
