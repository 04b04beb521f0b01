"""The proof of the balancers: `python -m tests.fleet [pytest's arguments]`, with HAProxy and nginx.

Other folders among the arguments are tested too.
"""

import subprocess
import sys
from collections.abc import Sequence

from tests.clients.toolchains import MissingTool, require
from tests.docs.blocks import ROOT
from tests.fleet.balancer import KINDS


def main(arguments: Sequence[str]) -> int:
    """Bring the balancers, run the tests, and return the exit status."""
    try:
        for name in (*KINDS, "redis-cli"):
            require(name)
    except MissingTool as error:
        print(error, file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pytest", "tests/fleet", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
