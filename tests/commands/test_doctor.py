"""The command `optim doctor`: its table, its JSON and its exit codes."""

import json
from pathlib import Path

import pytest

from tests.command import Optim

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no service where nobody names one."""
    monkeypatch.setattr("optim_client._address.DEFAULT_BASE_URL", NOWHERE)


def test_a_finding_has_its_way_out_below_it(optim: Optim) -> None:
    status, words, _ = optim("doctor", "--store", "memory:")
    assert status == 5
    lines = words.splitlines()
    assert lines[0] == "warning  store        memory: nothing outlives the process"
    assert lines[1].strip() == "OPTIM_STORE=lmdb:PATH keeps the sessions"
    assert lines[2] == f"ok       service      none runs at {NOWHERE}"


def test_programs_get_json(optim: Optim, tmp_path: Path) -> None:
    _, words, said = optim("doctor", "--store", f"lmdb:{tmp_path / 'new'}", "--json")
    first = json.loads(words)["findings"][0]
    assert (first["check"], first["level"], first["way_out"]) == ("store", "ok", None)
    assert said == ""


@pytest.mark.parametrize(
    "flags", [["--store=redis://:secret@127.0.0.1:1/0"], ["--store=memory:", f"--url={NOWHERE}"]], ids=["store", "url"]
)
def test_what_is_away_has_a_code_of_its_own(optim: Optim, flags: list[str]) -> None:
    status, words, _ = optim("doctor", *flags)
    assert status == 4
    assert "secret" not in words
