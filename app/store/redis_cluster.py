"""The client of a Redis Cluster: each command goes to the server of its slot (`redis_call`).

A script runs where all its keys are, or not at all: while its slot moves from one server to another, both refuse it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.store.redis_call import Call, all_answers, is_refusal
from app.store.redis_client import Client, Command, Refused, Upload, failure
from app.store.redis_nodes import Nodes
from app.store.redis_replicas import Replicas
from app.store.redis_scripts import Script
from app.store.redis_topology import Address, slot_of


class Cluster:
    """The commands to one cluster. It belongs to the event loop that opened it."""

    def __init__(self, url: str, timeout: float, replicas: int = 0) -> None:
        self.replicas = Replicas(replicas, timeout)
        self.nodes = Nodes(url, timeout)

    def open(self) -> None:
        self.nodes.open()

    async def close(self) -> None:
        await self.nodes.close()

    @property
    def secret_files(self) -> list[Path]:
        """Return the path of the client's private key, if there is one."""
        return self.nodes.secret_files

    @property
    def servers(self) -> list[Client]:
        """Return a client for each server that has slots."""
        return self.nodes.masters

    async def check(self) -> None:
        """Ask for the servers. Raises `IncompatibleStore` if they are no cluster."""
        await self.nodes.renew(self.nodes.topology)

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        """Send the commands, those of a slot together and in order; return the answers, or raise `StoreUnavailable`.

        They are no transaction, and all but the first of a slot may run twice. With `at_once_within` they wait for no
        other call, and have that many seconds.
        """
        return await self._ask(commands, [], at_once_within)

    async def _ask(
        self, commands: Sequence[Command], then: Sequence[Command], at_once_within: float | None = None
    ) -> list[Any]:
        """Send the commands, and `then` others after those of each slot; return the answers of the former."""
        by_slot: dict[int, list[int]] = {}
        for i, command in enumerate(commands):
            by_slot.setdefault(slot_of(command), []).append(i)
        calls = [
            Call(self.nodes, slot, [*(commands[i] for i in places), *then], at_once_within)
            for slot, places in by_slot.items()
        ]
        answers: list[Any] = [None] * len(commands)
        for places, found in zip(by_slot.values(), await all_answers(calls), strict=True):
            if then:
                self.replicas.check(found)
            for i, answer in zip(places, found, strict=False):
                answers[i] = answer
        return answers

    def upload(self) -> "ClusterUpload":
        return ClusterUpload(self)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        values: Command,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
        upload: "ClusterUpload | None" = None,
    ) -> Any:
        """Run a script; return its answer once the replicas have what it wrote. The commands `before` it are done then,
        and those `after` it follow.

        All but the script may run twice. With an upload, the script comes after its commands.
        """
        tail = (len(keys), *keys, *values)
        slot = slot_of(("EVAL", script.text, *tail))
        with_it: list[Command] = []
        earlier: list[Command] = []
        for command in before:
            (with_it if upload is None and slot_of(command) == slot else earlier).append(command)
        wait = self.replicas.wait
        if upload is not None:
            await upload.finish()
        await self._ask(earlier, wait)
        try:
            answers = await self._ask([*with_it, ("EVALSHA", script.sha, *tail)], wait)
        except Refused as refusal:
            if not refusal.is_unknown_script:
                raise
            answers = await self._ask([*with_it, ("EVAL", script.text, *tail)], wait)
        await self._ask(after, wait)
        return answers[-1]


class ClusterUpload:
    """Streams of commands, one to each server. Values are not copied."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._streams: dict[Address, tuple[Upload, list[Command]]] = {}
        self._later: list[Command] = []

    def put(self, command: Command) -> None:
        nodes = self._cluster.nodes
        address = nodes.topology.address_of(slot_of(command))
        if address is None:
            self._later.append(command)
            return
        if address not in self._streams:
            self._streams[address] = nodes.client(address).upload(), []
        upload, sent = self._streams[address]
        upload.put(command)
        sent.append(command)

    async def finish(self, *commands: Command) -> list[Any]:
        """Send what was refused again, then the last commands; return their answers. Raises as `Cluster.ask`."""
        streams, again = [*self._streams.values()], self._later
        self._streams, self._later = {}, []
        topology = self._cluster.nodes.topology
        ends = await asyncio.gather(*(upload.end() for upload, _ in streams), return_exceptions=True)
        for (_, sent), answers in zip(streams, ends, strict=True):
            if isinstance(answers, BaseException):
                self._cluster.nodes.forget(topology)
                raise answers
            for command, answer in zip(sent, answers, strict=True):
                if is_refusal(answer):
                    again.append(command)
                elif isinstance(answer, Exception):
                    raise failure(Refused, answer) from answer
        await self._cluster.ask(*again)
        return await self._cluster.ask(*commands)
