"""The requirements, by the ids that the checks name: the first table of docs/reliability.md."""

from typing import NamedTuple


class Requirement(NamedTuple):
    """A requirement, and the checks that show it."""

    title: str
    shown_by: str


REQUIREMENTS: dict[str, Requirement] = {
    "R1": Requirement(
        "A crash of the process loses no acknowledged step",
        "8 sessions under load, one with a lazy table, and `kill -9` of the server at random moments, on LMDB and on "
        "Redis; the same under a loop in shared memory, over a Unix socket; a step of every rule in flight at a kill "
        "of one of two servers, where each answer and state is the engine's to the bit",
    ),
    "R2": Requirement(
        "No step is applied twice",
        "clients retry in the same runs; the final state equals a local replay of the acknowledged steps to the bit",
    ),
    "R3": Requirement(
        "The service survives a crash of its store",
        "Redis killed and restarted under load, or failed over to another server at its address: 503 with "
        "`Retry-After` meanwhile, then automatic recovery; no step is lost",
    ),
    "R4": Requirement(
        "Lost, late and truncated replies do no harm",
        "a proxy between client and service, and between service and Redis: delays beyond the timeout, cuts at every "
        "byte of a sweep, black holes, resets; idle connections that a router dropped",
    ),
    "R5": Requirement(
        "A session is linearizable",
        "concurrent step, undo, get, patch and delete by 8 clients on 2 processes; Wing and Gong's algorithm checks "
        "each history; slow readers of states, parameters and answers beside large steps",
    ),
    "R6": Requirement(
        "All stores behave like one model",
        "a state machine compares memory, LMDB and Redis with a dictionary and NumPy",
    ),
    "R7": Requirement("A race has one winner", "clients race for the same step on two processes: exactly one gets 200"),
    "R8": Requirement(
        "A fault at any store call leaves either the old state or the new one",
        "an error, a cancellation and a kill at the n-th call, for every n of a step; a full disk; I/O errors",
    ),
    "R9": Requirement(
        "Disconnects and cancellations leak nothing",
        "sockets closed at every phase of a request, and cancelled calls to Redis: no other request's data, no leaked "
        "descriptors, tasks or memory",
    ),
    "R10": Requirement(
        "Hostile input gets a 4xx quickly",
        "requests generated from the schema; mutated JSON and safetensors bodies, in process and over HTTP; known "
        "attacks",
    ),
    "R11": Requirement(
        "Slow clients are disconnected and delay nobody else",
        "slow heads, slow bodies, silent connections and unread answers are closed at their deadlines",
    ),
    "R12": Requirement(
        "The service refuses excess load",
        "ten times its capacity: 429 or 503 with `Retry-After`, bounded memory, a fast `/livez` throughout",
    ),
    "R13": Requirement(
        "Nobody exceeds their permissions", "every kind of caller requests every route: the exact status in every cell"
    ),
    "R14": Requirement(
        "Shutdowns and upgrades lose nothing",
        "SIGTERM under load; steps on stores and state files of format 1; a newer format is refused",
    ),
    "R15": Requirement(
        "Long runs do not grow",
        "memory, descriptors, keys and disk while sessions are created, stepped and expire; a wall clock that jumps "
        "by an hour",
    ),
    "R16": Requirement(
        "The image has only known packages",
        "a lock file with the hash of every installed package, compared with the declared ones; `make audit` looks for "
        "known vulnerabilities, but not in these runs: it needs the index's advisories",
    ),
    "R17": Requirement(
        "A training loop survives a restart of the service",
        "loops with the Python client's defaults, sync and async; the service is down for 30 s after SIGTERM or "
        "`kill -9`, on LMDB and on Redis; a session created meanwhile exists once",
    ),
    "R18": Requirement(
        "A request at the limits delays nobody and leaks no memory",
        "10,000 tensors under 256 hostile patterns, lists of 100 wide sessions, 16 MiB of the densest JSON, 10,000 "
        "rows: a fast `/livez` throughout; large steps, JSON and sessions; after an idle minute, memory is back "
        "at its start",
    ),
    "R19": Requirement(
        "A round neither loses nor doubles a contribution, and waits for no dead worker",
        "8 worker processes and 2 servers on one store, `kill -9` of any of them, cuts, resets, delays and black holes "
        "between them, on LMDB and on Redis: each round equals a local replay of exactly those contributions that its "
        "ledger calls applied, and closes within its deadline and a second; a state machine compares fates, numbers "
        "and digests with a second implementation on all stores",
    ),
    "R20": Requirement(
        "A failover of a cluster loses no step that replicas were waited for, and every other loss is said",
        "masters of a Redis Cluster killed under load, each back as a replica: with `OPTIM_REDIS_REPLICAS=1` no "
        "answered step is lost, and all sessions step again within five node timeouts and 3 s; without, replicas lag "
        "behind a proxy, and the client raises `StateLost` for each session that went back, which is whole; the same "
        "on one Redis with its replica; slots moved under load",
    ),
    "R21": Requirement(
        "A replica of the service that dies loses nothing",
        "training loops with the Python client's defaults, small steps and steps of 800 kB, behind HAProxy and behind "
        "nginx: `kill -9` of one of three replicas on one Redis at random moments; each loop ends with the bits of the "
        "engine alone and has each step once in its history",
    ),
    "R22": Requirement(
        "A rolling restart shows no error and loses nothing",
        "the same loops while one replica after another drains, stops and starts again, as an upgrade does it",
    ),
}
