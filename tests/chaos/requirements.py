"""The requirements: the rows of docs/reliability.md, by the ids that the checks name."""

from typing import NamedTuple


class Requirement(NamedTuple):
    """A requirement and how its checks show it."""

    title: str
    shown_by: str


REQUIREMENTS: dict[str, Requirement] = {
    "R1": Requirement(
        "An acknowledged step survives the death of the process",
        "8 sessions under load, `kill -9` of the server at random moments, on LMDB and on Redis",
    ),
    "R2": Requirement(
        "No step happens twice",
        "in the same runs clients retry; the end equals a local replay of the acknowledged steps to the bit",
    ),
    "R3": Requirement(
        "The store's death is survived",
        "Redis killed and started again under load, or failed over to another server behind its address: 503 with "
        "`Retry-After` meanwhile, recovery by itself, nothing lost",
    ),
    "R4": Requirement(
        "Lost, late and cut replies do no harm",
        "a proxy between client and service, and between service and Redis: delays past the timeout, cuts after every "
        "number of bytes of a sweep, black holes, resets; idle connections that a router forgot",
    ),
    "R5": Requirement(
        "A session is linearizable",
        "concurrent step, get, patch and delete from 8 clients on 2 processes; each history checked by Wing and Gong's "
        "algorithm",
    ),
    "R6": Requirement(
        "The stores agree with one model", "a state machine: memory, LMDB and Redis against a dictionary and NumPy"
    ),
    "R7": Requirement("A race has one winner", "clients race for one step on two processes: exactly one 200 each"),
    "R8": Requirement(
        "A fault at any store call leaves the old state or the new one",
        "an error, a cancellation and a kill at the n-th call, for every n of a step; a full disk; I/O errors",
    ),
    "R9": Requirement(
        "Disconnects and cancellations leave nothing behind",
        "sockets closed at every phase of a request, cancelled calls to Redis: no foreign data, no leaked descriptors, "
        "tasks or memory",
    ),
    "R10": Requirement(
        "Hostile input is a 4xx, quickly",
        "requests made from the schema; mutated JSON and safetensors bodies in process and over HTTP; known attacks",
    ),
    "R11": Requirement(
        "Slow clients are let go, and harm nobody else",
        "dripping heads, dripping bodies, silent connections, answers that nobody takes: closed at their deadlines",
    ),
    "R12": Requirement(
        "Overload is refused, not suffered",
        "ten times the capacity: 429 or 503 with `Retry-After`, bounded memory, `/livez` quick throughout",
    ),
    "R13": Requirement(
        "Nobody does what they may not", "every route asked by every kind of caller: the exact status in every cell"
    ),
    "R14": Requirement(
        "Stopping and upgrading lose nothing",
        "SIGTERM under load; stores and state files of format 1 are opened and stepped on; a newer format is refused",
    ),
    "R15": Requirement(
        "Long runs stay flat",
        "create, step and expire under load: memory, descriptors, keys and disk; a jump of the wall clock by an hour",
    ),
    "R16": Requirement(
        "What is delivered is known",
        "a lock of all that the image installs, by hashes, held against what is declared; `make audit` asks for known "
        "vulnerabilities of it, and is no part of these runs: it needs the index's advisories",
    ),
    "R17": Requirement(
        "A training loop outlives a restart of the service",
        "loops over the Python client with its defaults, sync and async; the service is away for 30 s after SIGTERM or "
        "`kill -9`, on LMDB and on Redis; a session created meanwhile is there once",
    ),
    "R18": Requirement(
        "A request at the limits holds nobody up, and leaves no memory behind",
        "10,000 tensors under 256 hostile patterns, lists of 100 wide sessions, 16 MiB of the densest JSON, 10,000 "
        "rows: `/livez` quick throughout; large steps, JSON and sessions with all that belongs to them, and after an "
        "idle minute the memory is as it was",
    ),
}
