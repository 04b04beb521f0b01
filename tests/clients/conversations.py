"""Calls of a prover, played against a scripted server by a clock that only the player moves."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from tests.client.scripted import Answer, ScriptedServer, Seen
from tests.clients.languages import Language
from tests.clients.prover import Prover
from tests.servers import free_port

PATH = "/v1/sessions/s/steps"


@dataclass(frozen=True)
class Limits:
    """The limits of retries, the random number, and the seconds that each try takes."""

    seconds: float = math.inf
    retries: float = math.inf
    chance: float = 0.0
    each_try_takes: float = 0.0


@dataclass(frozen=True)
class Played:
    """A call that has ended: its waits, its last line, and the requests that reached the server."""

    waits: list[float]
    end: dict[str, Any]
    seen: list[Seen]


class Caller:
    """A language's prover of calls, which is started anew after a call that did not end."""

    def __init__(self, language: Language) -> None:
        self.resends = language.resends
        self._language = language
        self._prover: Prover | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._prover:
            assert self._prover.end() == 0

    def call(self, url: str, method: str, limits: Limits, at_wait: Callable[[], None]) -> tuple[list[float], Any]:
        """Have a call made; return its waits and its last line. `at_wait` is called at each wait."""
        prover, self._prover = self._prover or Prover(self._language, "call"), None
        prover.tell(f"{url} {method} {PATH} {limits.seconds} {limits.retries} {limits.chance}")
        waits, now = list[float](), 0.0
        while "wait" in (said := prover.hear()):
            waits.append(said["wait"])
            at_wait()
            now += said["wait"] + limits.each_try_takes
            prover.tell(repr(now))
        self._prover = prover
        return waits, said


def play(caller: Caller, answers: Sequence[Answer | None], method: str, limits: Limits, refused: int = 0) -> Played:
    """Play a call whose first `refused` tries find no server; those after it get the answers.

    A request that the platform of the client sends again by itself is seen once. Node's `fetch` loses some answers to
    these, so that the client rightly tries again: then the call is played anew.
    """
    for _ in range(9):
        played = _played(caller, answers, method, limits, refused)
        if len(played.seen) <= len(answers):
            break
    return played


def _played(caller: Caller, answers: Sequence[Answer | None], method: str, limits: Limits, refused: int) -> Played:
    """Play a call once."""
    port = free_port()
    with ExitStack() as stack:
        servers = list[ScriptedServer]()
        waits_left = [refused]

        def listen() -> None:
            waits_left[0] -= 1
            if waits_left[0] < 0 and not servers:
                servers.append(stack.enter_context(ScriptedServer(*answers, port=port, resent=caller.resends)))

        listen()
        waits, end = caller.call(f"http://127.0.0.1:{port}", method, limits, listen)
        seen = servers[0].seen if servers else []
        assert not servers or not servers[0].script, "the client gave up too early"
        return Played(waits, end, once(seen) if caller.resends else seen)


def once(seen: Sequence[Seen]) -> list[Seen]:
    """Return the requests without those that have the id of the one before."""
    ids = [each.headers["x-request-id"] for each in seen]
    return [each for each, this, before in zip(seen, ids, [None, *ids], strict=False) if this != before]
