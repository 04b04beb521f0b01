"""The files of a format: `python -m tests.upgrade.make` writes those of the present one.

Run it once for each new format. The files are what versions of that time left behind; never write them again.

format-<number>/lmdb.json           an LMDB store with a session for each golden run, before its last step
format-<number>/redis.json          a Redis with the same
format-<number>/<run>.safetensors   the session's state file
"""

import json
import tempfile
from pathlib import Path

from httpx2 import Client

from app.store.formats import STORE_FORMAT
from tests.contract import GOLDEN
from tests.golden.cases import CASES
from tests.golden.make import FORMS
from tests.servers import RedisServer
from tests.service.calls import create, serving
from tests.upgrade.stored import KINDS

FOLDER = Path(__file__).parent
OTHERWISE = {"conflict", "other-params", "warnings", "warnings-json"}
OTHERWISE |= {"preview-and-minimal", "preview-and-minimal-json", "undo-and-fork"}
"""Runs that end with a refusal or with other calls, or with a warning that a state file does not keep."""
RUNS = [name for name, case in CASES.items() if len(case.steps) > 1 and name not in OTHERWISE]
"""The runs that end with two successful steps. Files of earlier formats have the runs of their time."""


def step(client: Client, session: str, run: str, number: int, before: bytes | None = None) -> tuple[bytes, bool]:
    """Take a golden step; return its answer, and whether that was a replay.

    With `before`, the JSON answer of the step before it, the step has the parameters of that answer.
    """
    [request] = (GOLDEN / run).glob(f"{number}.request.*")
    headers, content = {"content-type": FORMS[request.suffix[1:]]}, request.read_bytes()
    if before:
        content = json.dumps({**json.loads(content), "params": json.loads(before)["params"]}).encode()
    answer = client.post(f"{session}/steps", content=content, headers=headers)
    return answer.content, "idempotent-replayed" in answer.headers


def golden_answer(run: str, number: int) -> bytes:
    [answer] = (GOLDEN / run).glob(f"{number}.response.*")
    return answer.read_bytes()


def train(client: Client) -> dict[str, str]:
    """Take all steps but the last of each run; return the sessions' paths by run."""
    sessions = {run: create(client, **CASES[run].settings, labels={"run": run}) for run in RUNS}
    for run, session in sessions.items():
        for number in range(1, len(CASES[run].steps)):
            step(client, session, run, number)
    return sessions


def write(folder: Path, lmdb_url: str, redis_url: str) -> None:
    for kind, url in (("lmdb", lmdb_url), ("redis", redis_url)):
        with serving(store=url) as client:
            sessions = train(client)
            if kind == "lmdb":
                for run, session in sessions.items():
                    (folder / f"{run}.safetensors").write_bytes(client.get(f"{session}/state").content)
        (folder / f"{kind}.json").write_text(json.dumps(KINDS[kind].read(url), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    (folder := FOLDER / f"format-{STORE_FORMAT}").mkdir()
    with tempfile.TemporaryDirectory() as place:
        server = RedisServer(Path(place)).start()
        try:
            write(folder, f"lmdb:{place}/store", server.url)
        finally:
            server.kill()
