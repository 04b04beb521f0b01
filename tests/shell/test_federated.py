"""A worker in shell beside three in Python: they learn the digits, and each has a part in every round."""

import os
import re
import subprocess
import sys

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
