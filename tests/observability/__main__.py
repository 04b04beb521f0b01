"""The proof of metrics, alerts and dashboards: `python -m tests.observability [pytest's arguments]`, with its tool."""

import subprocess
import sys
from collections.abc import Sequence

from tests.clients.toolchains import MissingTool, require
from tests.docs.blocks import ROOT


def main(arguments: Sequence[str]) -> int:
    """Bring the tool, run the tests, and return the exit status."""
    try:
        require("prometheus")
    except MissingTool as error:
        print(error, file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pytest", "-q", "tests/observability", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
