"""`examples/move.py`: its moves are exact, which it asserts itself, and it ends near a run that stays local."""

import os
import re
import subprocess
import sys

from app.demo.server import Server
from tests.docs.blocks import ROOT


def test_a_moved_run_ends_within_rounding_of_a_local_one() -> None:
    with Server() as server:
        program = [sys.executable, "examples/move.py"]
        environment = os.environ | {"OPTIM_BASE_URL": server.url}
        ran = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    said = re.fullmatch(
        r"loss (\S+) after 300 steps; (\S+) if all are local\n"
        r"the moves are exact; the parameters are (\S+) apart, which is rounding\n",
        ran.stdout,
    )
    assert said
    assert abs(float(said[1]) - float(said[2])) < 2e-4
    assert float(said[3]) < 1e-5
