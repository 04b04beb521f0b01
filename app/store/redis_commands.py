"""The seam below the store in Redis: its files say what is saved, and not on which server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from app.store.redis_client import Client, Command
from app.store.redis_replicas import Replicas
from app.store.redis_scripts import Script


class Uploading(Protocol):
    """A stream of commands under way: none waits for the answer of another. Values are not copied."""

    def put(self, command: Command) -> None: ...

    async def finish(self, *commands: Command) -> list[Any]:
        """Send the last commands; return their answers. Raises as `Commands.ask`, for an error of any command."""


class Commands(Protocol):
    """The commands to one Redis, or to a cluster."""

    replicas: Replicas

    @property
    def secret_files(self) -> list[Path]:
        """Return the path of the client's private key, if there is one."""

    @property
    def servers(self) -> list[Client]:
        """Return a client for each server that has keys."""

    def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None:
        """Raise `IncompatibleStore` if the address is of another kind than the servers."""

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        """Send commands and return their answers, or raise `StoreUnavailable`; `Refused` if none is under way any more.

        Those whose keys belong to one session run in order. They are no transaction: those after a failed one may run
        all the same, and those after the first may run twice. With `at_once_within` they wait for no other call, and
        have that many seconds.
        """

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        values: Command,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
        upload: Any = None,
    ) -> Any:
        """Run a script; return its answer once the replicas have what it wrote. The commands `before` and `after` it
        go along, and may run twice.

        With an upload, these are its last commands.
        """

    def upload(self) -> Uploading:
        """Begin an upload."""
