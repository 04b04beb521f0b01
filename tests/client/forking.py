"""Programs that fork: `python -m tests.client.forking NAME URL`. Each prints `right`, or what was wrong."""

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from optim_client import AsyncClient, Client, StepConflict

STEPS = 30
HANG_SECONDS = 60


def same_values(url: str) -> None:
    """Step a session in each of three processes, over one client. Zero gradients leave each session its own value."""
    client = Client(url, max_retries=0)
    sessions = [client.sessions.create("sgd", lr=0.1) for _ in range(3)]
    children = [forked(lambda own=own: stay(sessions[own], own)) for own in (1, 2)]
    stay(sessions[0], 0)
    for child in children:
        joined(child)
    for session in sessions:
        expect(client.sessions.get(session.id).info.step, STEPS)
    client.close()


def region_arrays(url: str) -> None:
    """Keep an answer of a region over a fork: parent and child write into it and step on, unseen by the other."""
    client = Client(url, max_retries=0)
    session = client.sessions.create("sgd", lr=1.0, hold_params=True)
    ones = np.ones(300_000, np.float32)
    session.put_params({"w": ones})
    grads = client.empty({"w": ones.size})
    grads["w"][:] = ones
    kept = session.step(grads=grads)["w"]
    expect(kept.sum(), 0.0)

    def write(value: float) -> None:
        time.sleep(0.2)
        kept[:1000] += value
        grads["w"][:] = value
        time.sleep(0.5)
        expect(kept[:1000].sum(), 1000 * value)
        expect(grads["w"].sum(), value * ones.size)
        expect(kept[1000:].sum(), 0.0)

    child = forked(lambda: (write(1.0), write_own(client, ones)))
    write(2.0)
    expect(session.step(grads=grads)["w"].sum(), -2.0 * ones.size)
    expect(session.step(grads=grads)["w"].sum(), -4.0 * ones.size)
    joined(child)
    expect(kept[:1000].sum(), 2000.0)
    client.close()


def write_own(client: Client, ones: np.ndarray) -> None:
    """Step a session of the child's own, over connections and regions of its own."""
    own = client.sessions.create("sgd", lr=1.0, hold_params=True)
    own.put_params({"w": ones})
    for number in range(3):
        expect(own.step(grads={"w": ones})["w"].sum(), -1.0 * number * ones.size)


def same_values_async(url: str) -> None:
    """Step a session in each of three processes, over one async client, each in an event loop of its own."""
    client = AsyncClient(url, max_retries=0)

    async def created() -> list[Any]:
        return [await client.sessions.create("sgd", lr=0.1) for _ in range(3)]

    async def stay_async(session: Any, own: int) -> None:
        for _ in range(STEPS):
            got = await session.step(value(own), value(0))
            expect(got["w"].tolist(), value(own)["w"].tolist())

    sessions = asyncio.run(created())
    children = [forked(lambda own=own: asyncio.run(stay_async(sessions[own], own))) for own in (1, 2)]
    asyncio.run(stay_async(sessions[0], 0))
    for child in children:
        joined(child)


def locks_held(url: str) -> None:
    """Fork while another thread holds every lock of the client."""
    client = Client(url, max_retries=0)
    session = client.sessions.create("sgd", lr=0.1)
    lane: Any = client._transport._lane
    locks = [lane._lock, lane._buffers._lock, client._transport._httpx._lock]
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        for _ in range(100):
            lane._places.get()
        held.set()
        done.wait()
        for _ in range(100):
            lane._places.put(None)
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = forked(lambda: stay(session, 1))
    joined(child)
    done.set()
    holder.join()
    client.sessions.get(session.id)


def threads_under_way(url: str) -> None:
    """Fork again and again while other threads make calls."""
    client = Client(url, max_retries=0)
    over = threading.Event()
    wrong: list[object] = []

    def work(own: int) -> None:
        try:
            session = client.sessions.create("sgd", lr=0.1)
            while not over.is_set():
                stay(session, own, steps=1)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    session = client.sessions.create("sgd", lr=0.1)
    for _ in range(5):
        joined(forked(lambda: stay(client.sessions.create("sgd", lr=0.1), 9, steps=10)))
        stay(session, 8, steps=10)
    over.set()
    for thread in threads:
        thread.join()
    expect(wrong, [])


def one_session(url: str) -> None:
    """Fork while a step of the session has its turn: the child may step, and the stale parent gets a conflict."""
    client = Client(url, max_retries=0)
    session = client.sessions.create("sgd", lr=1.0)
    session.step(value(3), value(1))
    with session._turn.step(session):
        joined(forked(lambda: expect(session.step(value(2), value(1))["w"][0], 1.0)))
    try:
        session.step(value(2), value(0.5))
    except StepConflict as conflict:
        expect((session.info.step, conflict.current_step), (1, 2))
    else:
        raise AssertionError("the parent's step was taken beside the child's")
    expect(session.get().step, 2)
    expect(session.step(value(1), value(1))["w"][0], 0.0)


def files(url: str) -> None:
    """Save and load states in both processes, over the connections of HTTPX."""
    client = Client(url, max_retries=0)
    session = client.sessions.create("sgd", lr=0.1)
    stay(session, 1, steps=1)
    with tempfile.TemporaryDirectory() as folder:

        def save(name: str) -> None:
            for _ in range(10):
                session.save_state(Path(folder, name))

        save("before")
        child = forked(lambda: save("child"))
        save("parent")
        joined(child)
        expect(Path(folder, "child").read_bytes(), Path(folder, "parent").read_bytes())


def events(url: str) -> None:
    """Follow a session in both processes, from one iterator: each sees every event, over a connection of its own."""
    session = Client(url, max_retries=0).sessions.create("sgd", lr=0.1)
    followed = session.events(after=0)
    stay(session, 1, steps=1)
    expect(next(followed).step, 1)
    ready, written = os.pipe()

    def follow() -> None:
        os.read(ready, 1)
        expect([next(followed).step for _ in range(3)], [2, 3, 4])

    child = forked(follow)
    for number in range(2, 5):
        session.step(value(1), value(0), step=number)
    os.write(written, b".")
    expect([next(followed).step for _ in range(3)], [2, 3, 4])
    joined(child)


def descriptors(url: str) -> None:
    """Check that a child keeps no connection of the lane open; the service could not see the parent close it."""
    client = Client(url, max_retries=0)
    client.ready()

    def connections() -> int:
        return len(psutil.Process().net_connections("tcp"))

    expect(connections(), 1)
    joined(forked(lambda: expect(connections(), 0)))
    expect(connections(), 1)


def connection_is_left(url: str) -> None:
    """End a child as scripts do, and as `multiprocessing` does; the parent's connection stays open."""
    client = Client(url, max_retries=0)
    client.sessions.get("s-1")
    joined(forked(lambda: None))
    joined(forked(client.close))
    joined(forked(lambda: None, exit_=sys.exit))
    client.sessions.get("s-1")
    client.close()


def in_process(store: str) -> None:
    """Use a service of the parent in the child: an error at once, and no harm to the parent."""
    with Client(store) as client:
        session = client.sessions.create("sgd", lr=0.1)
        for leave in (os._exit, sys.exit):
            joined(forked(lambda: refused(lambda: stay(session, 1), "`optim serve`"), exit_=leave))
            joined(forked(client.close, exit_=leave))
        stay(session, 1)


def in_process_anew(store: str) -> None:
    """Run a service in the child beside the parent's."""
    with Client(store) as client:
        stay(client.sessions.create("sgd", lr=0.1), 1, steps=2)

        def anew() -> None:
            with Client("memory:") as own:
                stay(own.sessions.create("sgd", lr=0.1), 1, steps=2)

        joined(forked(anew))
        stay(client.sessions.create("sgd", lr=0.1), 1, steps=2)


def in_process_async(store: str) -> None:
    """Use a service of the parent in the child, by the async client."""
    client = AsyncClient(store)
    session = asyncio.run(client.sessions.create("sgd", lr=0.1))
    joined(forked(lambda: refused(lambda: asyncio.run(session.get()), "`optim serve`")))
    asyncio.run(session.get())


def own_transport(url: str) -> None:
    """Use a transport of the user's in the child: an error, because it cannot be opened again."""
    client = Client(url, transport=httpx2.HTTPTransport())
    client.ready()
    joined(forked(lambda: refused(client.ready, "make a client in each process")))
    expect(client.ready(), True)


def value(own: float) -> dict[str, Any]:
    return {"w": np.full(20_000, own, np.float32)}


def stay(session: Any, own: int, steps: int = STEPS) -> None:
    for _ in range(steps):
        got = session.step(value(own), value(0))
        if not (got["w"] == own).all():
            raise AssertionError(f"sent {own}, got {got['w']}")


def expect(got: object, wanted: object) -> None:
    if got != wanted:
        raise AssertionError(f"{got} is not {wanted}")


def refused(call: Callable[[], object], word: str) -> None:
    try:
        call()
    except RuntimeError as error:
        if word in str(error):
            return
        raise
    raise AssertionError("not refused")


def forked(work: Callable[[], object], exit_: Callable[[int], object] = os._exit) -> int:
    """Do the work in a forked process; return its id."""
    child = os.fork()
    if child:
        return child
    watchdog = threading.Timer(HANG_SECONDS, os._exit, (2,))
    watchdog.daemon = True
    watchdog.start()
    try:
        work()
    except BaseException as error:
        print(f"child: {error!r}", flush=True)
        os._exit(1)
    exit_(0)
    raise AssertionError


def joined(child: int) -> None:
    expect(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)


if __name__ == "__main__":
    name, url = sys.argv[1:]
    globals()[name](url)
    print("right")
