"""The interface of all competitors."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from optim_engine.arrays import Array


@dataclass(frozen=True)
class Step:
    """A step. `take` does it, and is timed. `read` returns the new parameters from the result of `take`.

    They may be in memory that the next step reuses. One that computes no parameters has no `read`.
    """

    take: Callable[[], Any]
    read: Callable[[Any], Array] | None = None


Session: TypeAlias = Callable[[Array, Array], AbstractContextManager[Step]]
"""A function that starts a session with parameters; all steps have the same gradients. Both are float32 vectors."""
