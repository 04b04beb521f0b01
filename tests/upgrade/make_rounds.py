"""The files of a format of ledgers: `python -m tests.upgrade.make_rounds` writes those of the present one.

Run it once for each new format. The files are what versions of that time left behind; never write them again.

ledger-<number>/<store>.json    a store with two sessions, each with an open round: one waits for its second worker
                                and one for its grace
ledger-<number>/answers.json    the answers of the steps that the rounds become
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from app.store.ledger_envelope import LEDGER_FORMAT
from tests.servers import RedisServer
from tests.service.calls import serving
from tests.service.crew import Crew
from tests.upgrade.stored import KINDS

FOLDER = Path(__file__).parent
WAITING, DUE = "waiting", "due"
GRADS = {"a": {"w": [0.5, -0.25, 1.0], "b": [2.0]}, "b": {"w": [0.1, 0.2, -0.3], "b": [-1.0]}}


def answered(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a step's answer that does not depend on the time."""
    return {name: answer[name] for name in ("step", "params", "digest")}


def train(url: str) -> None:
    """Leave a session at step 1 with one of two contributions, and one whose only round is past its grace."""
    with serving(store=url) as client:
        waiting = Crew(client, "a", "b", quorum=2, settings={"labels": {"round": WAITING}})
        for name in ("a", "b"):
            waiting.push(1, name, GRADS[name], weight=3)
        waiting.push(2, "a", GRADS["a"], weight=2, loss=0.5)
        due = Crew(client, "a", "b", quorum=1, grace_seconds=60, settings={"labels": {"round": DUE}})
        due.push(1, "b", GRADS["b"])


def finished(url: str) -> dict[str, Any]:
    """Finish both rounds of such a store; return the answers of the steps."""
    with serving(store=url) as client:
        sessions = client.get("/v1/sessions").json()["sessions"]
        paths = {session["labels"]["round"]: f"/v1/sessions/{session['id']}" for session in sessions}
        push = {"epoch": 2, "weight": 5, "grads": GRADS["b"]}
        waited = client.put(f"{paths[WAITING]}/rounds/2/contributions/b", json=push, headers={"prefer": "wait=20"})
        closed = client.post(f"{paths[DUE]}/rounds/1/close")
        assert (waited.status_code, closed.status_code) in {(200, 200), (200, 409)}, (waited.text, closed.text)
        push = {"epoch": 2, "grads": GRADS["b"]}
        again = client.put(f"{paths[DUE]}/rounds/1/contributions/b", json=push, headers={"prefer": "wait=20"})
        return {WAITING: answered(waited.json()), DUE: answered(again.json())}


if __name__ == "__main__":
    (folder := FOLDER / f"ledger-{LEDGER_FORMAT}").mkdir()
    with tempfile.TemporaryDirectory() as place:
        server = RedisServer(Path(place)).start()
        try:
            for kind, url in (("lmdb", f"lmdb:{place}/store"), ("redis", server.url)):
                train(url)
                (folder / f"{kind}.json").write_text(json.dumps(KINDS[kind].read(url), indent=1, sort_keys=True) + "\n")
                answers = finished(url)
            (folder / "answers.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
        finally:
            server.kill()
