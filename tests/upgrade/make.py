"""Write what the present format looks like: `python -m tests.upgrade.make`. Only once for each format, when it is new:
the files of a format are what versions of that time left behind, and no later version may make them anew.

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
"""Runs that end with a refusal, or with a warning that a state file knows nothing of."""
RUNS = [name for name, case in CASES.items() if len(case.steps) > 1 and name not in OTHERWISE]
"""Those that end with two steps that are taken. What was stored before has those that there were."""


def step(client: Client, session: str, run: str, number: int, before: bytes | None = None) -> tuple[bytes, bool]:
    """A golden step: what is answered, and whether it was answered before. With the answer before it, as JSON, the step
    has the parameters of that."""
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
    """By run, a session that has all of its steps but the last."""
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
