"""The bytes of bodies that a process has received and sent through its sockets."""

from dataclasses import dataclass

TRAFFIC = "optim.traffic"
"""The key of an application's `Traffic` in the state of its ASGI lifespan."""


@dataclass(slots=True)
class Traffic:
    """Bytes of bodies; heads and what passes through regions do not count."""

    received: int = 0
    sent: int = 0
