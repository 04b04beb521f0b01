"""A call to a Redis Cluster: commands of one slot on their way to the server that has it.

What a server refuses because it has not got the slot, or not yet, is sent again, for a few seconds: it was not done.
What got no answer is not sent again.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore
from app.store.redis_client import Advice, Command, NotSent, Refused, failure
from app.store.redis_nodes import Nodes
from app.store.redis_topology import Address, Topology

MENDED_SECONDS = 5.0
"""The longest time for which a refused command is sent again: longer than most failovers take."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
"""Seconds before the third try, and the most before a later one. The second comes at once."""

REFUSALS = (AskError, TryAgainError, ClusterDownError, BusyLoadingError, ReadOnlyError, NotSent)
"""Errors after which nothing was done, and that pass; `MovedError` and `MasterDownError` are among them."""
NOT_LOCAL = "attempted to access a non local key"
"""Words of the errors for a script that reads a key which has moved away. Scripts write only after they read."""
ADVICE = (
    Advice((AskError, TryAgainError), "moves a part of its keys to another server: try again in a moment"),
    Advice(ClusterDownError, "does not serve a part of its keys: unless a failover is under way, a server has failed"),
)


class Call:
    """One call. Its commands run in order: those after a refused one are sent again with it, and must be harmless."""

    def __init__(self, nodes: Nodes, slot: int, commands: Sequence[Command], at_once_within: float | None) -> None:
        self._nodes = nodes
        self._slot = slot
        self._commands = commands
        self._at_once = at_once_within is not None
        self._ends_at = time.monotonic() + min(MENDED_SECONDS, at_once_within or MENDED_SECONDS)
        self._pause = 0.0
        self._redirected: AskError | None = None
        self._failure: StoreUnavailable | None = None
        """The failure of the last question for the topology."""

    async def answers(self) -> list[Any]:
        """Return the answers. Raises `Refused` for the first error, `StoreUnavailable` if there is no answer."""
        answers: list[Any] = []
        while len(answers) < len(self._commands):
            topology = self._nodes.topology
            try:
                found = await self._exchange(topology, self._commands[len(answers) :])
            except NotSent as unsent:
                found = [unsent]
            except StoreUnavailable:
                self._nodes.forget(topology)
                raise
            for answer in found:
                if is_refusal(answer):
                    await self._mend(answer, topology)
                    break
                answers.append(answer)
                self._pause = 0.0
        for answer in answers:
            if isinstance(answer, Exception):
                raise failure(Refused, answer) from answer
        return answers

    async def _exchange(self, topology: Topology, commands: Sequence[Command]) -> list[Any]:
        """Send the commands to the server of the slot; return the answers, of which some may be errors.

        A server that takes over the slot answers one command at a time: the old one may have the key of the next. Only
        a `WAIT` goes with it.
        """
        within = self._ends_at - time.monotonic() if self._at_once else None
        redirected, self._redirected = self._redirected, None
        if redirected is None:
            address = topology.address_of(self._slot)
            if address is None:
                return [ClusterDownError("no server has it")]
            return await self._nodes.client(address).exchange(commands, within)
        client = self._nodes.client(Address(redirected.host, redirected.port))
        if isinstance(redirected, MovedError):
            return await client.exchange(commands, within)
        one = commands[: 2 if len(commands) > 1 and commands[1][0] == "WAIT" else 1]
        return (await client.exchange([("ASKING",), *one], within))[1:]

    async def _mend(self, refusal: Any, topology: Topology) -> None:
        """Wait a moment, and look for the server of the slot. Raises the refusal when it is too late."""
        if time.monotonic() + self._pause > self._ends_at:
            self._nodes.forget(topology)
            if isinstance(refusal, NotSent):
                raise refusal
            raise self._failure or failure(Refused, refusal, more=ADVICE) from refusal
        await asyncio.sleep(self._pause)
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._redirected = refusal if isinstance(refusal, AskError) and refusal.host else None
        if isinstance(refusal, MovedError) or not isinstance(refusal, AskError | TryAgainError):
            await self._renew(topology)

    async def _renew(self, topology: Topology) -> None:
        try:
            async with asyncio.timeout(self._ends_at - time.monotonic()):
                await self._nodes.renew(topology)
            self._failure = None
        except IncompatibleStore:
            raise
        except StoreUnavailable as unanswered:
            self._failure = unanswered
        except TimeoutError:
            pass


async def all_answers(calls: Sequence[Call]) -> list[list[Any]]:
    """Return the answers of all calls. Raises `Refused` only if all have answers."""
    if len(calls) == 1:
        return [await calls[0].answers()]
    found = await asyncio.gather(*(call.answers() for call in calls), return_exceptions=True)
    failures = [each for each in found if isinstance(each, BaseException)]
    for first in sorted(failures, key=lambda each: isinstance(each, Refused)):
        raise first
    return [each for each in found if not isinstance(each, BaseException)]


def is_refusal(answer: Any) -> bool:
    """Return whether an answer is an error after which nothing was done, and that passes."""
    return isinstance(answer, REFUSALS) or (isinstance(answer, Exception) and NOT_LOCAL in str(answer).lower())
