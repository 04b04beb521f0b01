"""The renewals of a worker's lease, by a thread; `_async_heart.py` does them by a task.

The thread keeps no worker alive. It ends when the worker leaves or is collected, when another process has its name, and
with the process; a forked process has none. A renewal that fails is not tried again: the next one comes soon.
"""

import os
import threading
import weakref
from typing import Any

from optim_client import _fork
from optim_client._protocol import Call
from optim_client._storage import Caller
from optim_client.errors import NotFound, OptimError, WorkerFenced

END_SECONDS = 2.0
"""Seconds to wait for the end of the thread, which may be in the middle of a renewal."""


class Heart:
    """The thread of one worker at a time."""

    def __init__(self, client: Caller) -> None:
        self._client = client
        self.after_fork()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Forget the thread: it is the parent's."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, owner: object, renew: Call[Any], seconds: float) -> None:
        """Make the call every so many seconds, as long as `owner` lives."""
        self.stop()
        self._stop = threading.Event()
        weakref.finalize(owner, _end, self._stop, os.getpid())
        once = self._client.with_options(max_retries=0, timeout=seconds)
        self._thread = threading.Thread(
            target=_beat, args=(self._stop, once, renew, seconds), name="optim-worker", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(END_SECONDS)


def _end(stop: threading.Event, process: int) -> None:
    """End the thread, in the process that has it: in a forked one the event's lock may never be released."""
    if os.getpid() == process:
        stop.set()


def _beat(stop: threading.Event, client: Caller, renew: Call[Any], seconds: float) -> None:
    while not stop.wait(seconds):
        try:
            client._run(renew)
        except (WorkerFenced, NotFound, RuntimeError):  # another process has the name, or the client is closed
            return
        except OptimError:
            continue
