"""The proof of every client, or of those named: `python -m tests.clients [NAME …]`.

A client whose tools cannot be had, or whose build fails, is named at the end, and the others are proven all the same.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.clients.languages import LANGUAGES, Language
from tests.clients.toolchains import MissingTool, path, require, run
from tests.durability.processes import servers

ROOT = Path(__file__).parents[2]


def main(names: Sequence[str]) -> int:
    """Build, test and prove the clients; return the exit status."""
    if unknown := sorted(set(names) - LANGUAGES.keys()):
        print(f"unknown client {unknown[0]!r}; expected one of {', '.join(LANGUAGES)}", file=sys.stderr)
        return 2
    failures = list[str]()
    ready = list[str]()
    with TemporaryDirectory() as folder, servers(["memory:"], Path(folder)) as (server,):
        for name in names or LANGUAGES:
            found = list(problems(LANGUAGES[name], server.url))
            failures += [f"{name}: {problem}" for problem in found]
            ready += [] if found or not LANGUAGES[name].prove else [name]
    if ready and not proven(ready):
        failures.append(f"a proof failed, of: {', '.join(ready)}; see above")
    print(*(failures or [f"proven: {', '.join(names or LANGUAGES)}"]), sep="\n", flush=True)
    return 1 if failures else 0


def problems(language: Language, url: str) -> Iterator[str]:
    """Build a client, and test it with the service at that URL; yield why it cannot be proven."""
    print(f"{language.name}: build and test", flush=True)
    try:
        for tool in language.tools:
            require(tool)
    except MissingTool as error:
        yield str(error)
        return
    for command in (*language.build, *language.tests):
        done = run(*command, folder=language.folder, OPTIM_BASE_URL=url)
        if done.returncode != 0:
            print(done.stdout, flush=True)
            yield f"`{' '.join(command)}` failed with status {done.returncode}; its output is above"
            return


def proven(names: Sequence[str]) -> bool:
    """Return whether the clients pass the tests of this folder."""
    print(f"{', '.join(names)}: prove, for a few minutes", flush=True)
    environment = {**os.environ, "LANGUAGES": " ".join(names), "PATH": path()}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "tests/clients"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
