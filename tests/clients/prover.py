"""A running prover: the program of a client that the tests talk to in lines of JSON."""

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.clients.languages import Language
from tests.reaper import tied

PATIENCE_SECONDS = 120
"""The longest silence of a prover; none sleeps, but a build may share the processors."""


class Prover:
    """A prover that runs one command. Lines go in and documents come out."""

    def __init__(self, language: Language, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = tied(
            [*language.prove, *arguments],
            cwd=language.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
        )
        self._rest = b""

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        self._process.stdin.write(line.encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        """Return the next document that it prints."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_SECONDS)
            read = self._process.stdout.read(1 << 16) if ready else b""
            if not read:
                raise AssertionError(f"the prover {'ended' if ready else 'is silent'}; it said: {self.said()}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document

    def said(self) -> str:
        """Return what it wrote to its standard error."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def end(self) -> int:
        """Close its input, and return its exit status."""
        self._process.stdin.close()
        try:
            return int(self._process.wait(PATIENCE_SECONDS))
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._said.close()


@contextmanager
def proving(language: Language, *arguments: str) -> Iterator[Prover]:
    """Run a prover; it must end well."""
    prover = Prover(language, *arguments)
    try:
        yield prover
    except BaseException:
        prover._process.kill()
        prover.end()
        raise
    said = prover.said()
    assert prover.end() == 0, said
