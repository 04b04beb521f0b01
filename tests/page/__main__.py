"""The tests of the page in real Chromium: `python -m tests.page [pytest's arguments]`, which brings what they need."""

import subprocess
import sys
from collections.abc import Sequence

from tests.clients.toolchains import MissingTool, require, run
from tests.docs.blocks import ROOT

TOOLS = "chromium", "node", "curl"
FOLDER = ROOT / "tests/page"
PREPARATIONS = (
    (sys.executable, "-m", "pip", "install", "--quiet", "--group", f"{ROOT}/pyproject.toml:browser"),
    ("npm", "ci", "--no-audit", "--no-fund"),
)


def main(arguments: Sequence[str]) -> int:
    """Bring the tools and packages, run the tests, and return the exit status."""
    try:
        for tool in TOOLS:
            require(tool)
    except MissingTool as error:
        print(error, file=sys.stderr)
        return 1
    for command in PREPARATIONS:
        done = run(*command, folder=FOLDER)
        if done.returncode != 0:
            print(done.stdout, f"`{' '.join(command)}` failed", sep="\n", file=sys.stderr)
            return 1
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", str(FOLDER), *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
