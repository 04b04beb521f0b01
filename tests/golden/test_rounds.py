"""The golden rounds: the service answers each call as they say, and their maker makes them."""

import json
from pathlib import Path

import pytest

from tests.golden.rounds import ROUNDS, RUNS, Asked, sent, timeless, write
from tests.service.calls import create, serving


@pytest.mark.parametrize("run", RUNS)
def test_the_service_answers_each_call_of_a_run(run: str) -> None:
    folder = ROUNDS / run
    with serving() as client:
        session = create(client, **json.loads((folder / "session.json").read_text()))
        for call in json.loads((folder / "calls.json").read_text()):
            body = (folder / call["request"]).read_bytes() if "request" in call else call.get("body")
            answer = sent(client, session, Asked(call["method"], call["path"], body, call.get("headers", {})))
            assert answer.status_code == call["status"], answer.text
            if "response" in call:
                assert answer.content == (folder / call["response"]).read_bytes()
            if "answer" in call:
                assert timeless(answer.json()) == call["answer"]


def test_the_files_of_rounds_are_what_their_maker_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.glob("*/*")}
    assert made == {path.relative_to(ROUNDS): path.read_bytes() for path in ROUNDS.glob("*/*")}
