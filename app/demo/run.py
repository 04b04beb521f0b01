"""The demo: train through the service, kill it in the middle of a step, see that the numbers are an unbroken run's."""

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
"""About how long a step takes, with its gradients."""
ANSWER_SECONDS = 0.1
"""Long enough for an answer that was on its way."""


class RunFailed(Exception):
    """The run did not do what the service promises."""


def demo(url: str | None = None) -> int:
    """Train through the service at `url`, or through a server of the demo's own; return the exit code."""
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no end of the demo leaves its server behind
    logging.getLogger("optim_client").addHandler(logging.NullHandler())  # the demo says itself that it waits
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
            display.say("server", "starts; the first start on a machine compiles a kernel, and takes some seconds more")
            server = stack.enter_context(Server())
        at = server.url if server else str(url).rstrip("/")
        client = stack.enter_context(Client(at))
        client.with_options(max_retries=0).sessions.list(limit=1)  # who gives a wrong address need not wait
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
    """End the server in the middle of a step, start it again, see that the step is done once; the seconds it took."""
    while True:
        step = len(run.points) + 1
        training = _started(partial(run.until, step))
        time.sleep(random.uniform(0, STEP_SECONDS))
        server.pause()
        if not wait([training], ANSWER_SECONDS).done:
            break
        server.resume()  # the answer was quicker
    display.say("kill -9", f"the server, in the middle of step {step}: sent, and not answered", "bold red")
    began = time.monotonic()
    server.kill()
    server.start()
    training.result()
    away = time.monotonic() - began
    found = run.session.get().step
    if found != step:
        raise RunFailed(f"the session came back at step {found}, not at step {step}")
    display.say("restart", f"{away:.1f} s later step {step} is answered, and done once; training goes on")
    return away


def _started(work: Callable[[], None]) -> Future[None]:
    """Do it in a thread that keeps nobody from leaving."""
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
    display.say("accuracy", f"{accuracy:.3f} on {len(test)} images that it has not seen")
    if accuracy < TARGET:
        raise RunFailed(f"an accuracy of {TARGET} was to be expected")
    if step := first_difference(run.points, train):
        raise RunFailed(f"not equal to the same run without a service: they differ from step {step} on")
    display.say("equal", f"to the bit, all {len(run.points):,} steps, to the same run without a service", "bold green")


def _what_next(console: Console, session: str | None) -> None:
    """Lines to copy, with `optim` as it can be typed here. `session` is the address of one that is still there."""
    optim = "optim" if shutil.which("optim") else os.path.relpath(Path(sys.executable).with_name("optim"))
    if session:
        commands = {
            f"curl '{session}/history?limit=3'": "what the service recorded",
            f"curl -X DELETE {session}": "or let it expire, in a day",
        }
    else:
        commands = {
            f"{optim} serve": "the service, its pages on http://127.0.0.1:8000/docs",
            f"{optim} demo --url http://127.0.0.1:8000": "this run, through that service",
            "docker compose up": "the service on Redis",
        }
    width = max(map(len, commands))
    console.print("\nNext:")
    for command, purpose in commands.items():
        console.print(f"  {command:<{width}}  {purpose}")
