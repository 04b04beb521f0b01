"""The drain of a server process: after SIGTERM it says that it is not ready, and serves on for a while.

A balancer asks `/readyz` from time to time, and sends requests until it has asked.
"""

import asyncio
import signal
from multiprocessing import parent_process
from types import FrameType

from app.logs import log
from app.readiness import Readiness


def stop_after_drain(readiness: Readiness, seconds: float) -> None:
    """Have SIGTERM stop this process `seconds` later, and not be ready meanwhile. A second one stops it at once.

    A process whose supervisor has ended does not drain: the next start wants its port. Called within the event loop,
    when the server has set what SIGTERM does.
    """
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        raise TypeError(f"SIGTERM stops no server here: {stop!r}")

    def begin(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, stop)
        loop.call_soon_threadsafe(drain, number)

    def drain(number: int) -> None:
        supervisor = parent_process()
        if supervisor is not None and not supervisor.is_alive():
            stop(number, None)
            return
        readiness.end()
        log.info("draining", seconds=seconds)
        loop.call_later(seconds, stop, number, None)

    signal.signal(signal.SIGTERM, begin)
