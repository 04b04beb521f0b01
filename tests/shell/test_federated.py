"""A worker in shell beside three in Python: they learn the digits, and each has a part in every round.

It ends with its session, instead of asking for ever.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from optim_client import Client

from tests.docs.blocks import ROOT


def test_a_worker_in_shell_learns_with_three_in_python() -> None:
    program = [sys.executable, "examples/federated.py", "--shell"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ran = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = re.search(r"^diloco: (\S+)% of new digits are read rightly$", ran.stdout, re.MULTILINE)
    assert found
    assert float(found[1]) >= 95
    with Client() as client:
        session = next(client.sessions.find(labels={"example": "diloco"}))
        for number in range(1, session.info.step + 1):
            fates = {each.worker: each.fate for each in session.round(number).contributions}
            assert fates == {f"worker-{i}": "applied" for i in range(4)}


def test_a_worker_in_shell_ends_when_its_session_is_deleted(tmp_path: Path) -> None:
    digits = tmp_path / "digits.csv"
    digits.write_text(",".join(["1"] * 64 + ["3"]) + "\n")
    with Client() as client:
        session = client.sessions.create("sgd", lr=1.0, hold_params=True, workers={"expected": 2, "quorum": 2})
        session.put_params({"weight": np.zeros((64, 10), np.float32), "bias": np.zeros(10, np.float32)})
        command = ["sh", "examples/federated.sh", session.id, "shell", str(digits), "1"]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as worker:
            try:
                while not session.round(1).have:
                    assert worker.poll() is None
                client.sessions.get(session.id).delete()
                _, told = worker.communicate(timeout=60)
            finally:
                worker.kill()
    assert worker.returncode
    assert "session_not_found" in told
