"""The demo: train through the service, kill it in the middle of a step, compare with a run that nothing broke."""

import logging
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from optim_client import Client, OptimError
from rich.console import Console

from app.demo import digits, network
from app.demo.display import Display
from app.demo.remote import RemoteRun
from app.demo.server import Server, ServerFailed
from app.demo.training import OPTIMIZER, STEPS, first_difference

TARGET = 0.95
STEP_SECONDS = 0.004
"""The usual duration of a step, with its gradients."""
ANSWER_SECONDS = 0.1
"""Time for an answer that was already on its way."""


class RunFailed(Exception):
    """The run did not end as the service promises."""


def demo(url: str | None = None) -> int:
    """Train through the service at `url`, or through a server of the demo's own; return the exit code."""
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM, too, stops the server of the demo
    logging.getLogger("optim_client").addHandler(logging.NullHandler())  # the demo itself tells of the crash
    try:
        _demo(console, url)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (OptimError, ServerFailed, RunFailed, ValueError) as error:
        console.print(f"failed    {error}", style="bold red")
        return 1
    return 0


def _demo(console: Console, url: str | None) -> None:
    console.print("A network learns hand-written digits; its optimizer is a service.\n", style="bold")
    with ExitStack() as stack:
        display = Display(console, STEPS)
        server = None
        if not url:
            display.say("server", "starting; the first start on a machine also compiles a kernel")
            server = stack.enter_context(Server())
        at = server.url if server else str(url).rstrip("/")
        client = stack.enter_context(Client(at))
        client.with_options(max_retries=0).sessions.list(limit=1)  # a wrong address fails at once
        run = RemoteRun(client, STEPS, display.show)
        parameters = sum(tensor.size for tensor in network.init().values())
        display.say("session", f"{run.session.id} at {at}: {OPTIMIZER}, {parameters:,} parameters")
        with display:
            run.until(STEPS // 2)
            if server:
                crash(run, server, display)
            run.until(STEPS)
    _judge(run, display)
    _what_next(console, f"{at}/v1/sessions/{run.session.id}" if url else None)


def crash(run: RemoteRun, server: Server, display: Display) -> float:
    """Kill the server in the middle of a step and start it again; return the seconds until the step was answered.

    Raises `RunFailed` unless the step was applied exactly once.
    """
    while True:
        step = len(run.points) + 1
        training = _started(partial(run.until, step))
        time.sleep(random.uniform(0, STEP_SECONDS))
        server.pause()
        if not wait([training], ANSWER_SECONDS).done:
            break
        server.resume()  # the answer was quicker
    display.say("kill -9", f"the server, in the middle of step {step}: sent, not yet answered", "bold red")
    began = time.monotonic()
    server.kill()
    server.start()
    training.result()
    away = time.monotonic() - began
    found = run.session.get().step
    if found != step:
        raise RunFailed(f"the session came back at step {found}, not at step {step}")
    display.say("restart", f"{away:.1f} s later step {step} is answered, applied once; training goes on")
    return away


def _started(work: Callable[[], None]) -> Future[None]:
    """Start the work in a daemon thread, which does not keep the process alive."""
    future = Future[None]()

    def run() -> None:
        try:
            work()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future


def _judge(run: RemoteRun, display: Display) -> None:
    train, test = digits.load()
    accuracy = network.accuracy(run.points[-1].params, test)
    display.say("accuracy", f"{accuracy:.3f} on {len(test)} images that the network did not learn from")
    if accuracy < TARGET:
        raise RunFailed(f"expected an accuracy of at least {TARGET}, not {accuracy:.3f}")
    if step := first_difference(run.points, train):
        raise RunFailed(f"the parameters differ from those of the same run without a service, from step {step} on")
    display.say("equal", f"all {len(run.points):,} steps have the same bits as a run without a service", "bold green")


def _what_next(console: Console, session: str | None) -> None:
    """Print commands to try next, with `optim` as it can be typed here; `session` is the address of one to look at."""
    optim = "optim" if shutil.which("optim") else os.path.relpath(Path(sys.executable).with_name("optim"))
    if session:
        commands = {
            f"curl '{session}/history?limit=3'": "the rows that the service recorded",
            f"curl -X DELETE {session}": "deletes the session, which else expires in a day",
        }
    else:
        commands = {
            f"{optim} serve": "starts the service, with its pages on http://127.0.0.1:8000/docs",
            f"{optim} demo --url http://127.0.0.1:8000": "runs this demo through that service",
            "docker compose up": "starts the service with Redis as its store",
        }
    width = max(map(len, commands))
    console.print("\nNext:")
    for command, purpose in commands.items():
        console.print(f"  {command:<{width}}  {purpose}")
