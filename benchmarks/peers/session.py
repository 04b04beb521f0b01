"""What all competitors look like from outside."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from optim_engine.arrays import Array


@dataclass(frozen=True)
class Step:
    """`take` is what is timed: one step. `read` finds the new parameters in what `take` returned, and is not timed;
    they may stand in memory that the next step uses again."""

    take: Callable[[], Any]
    read: Callable[[Any], Array]


Session = Callable[[Array, Array], AbstractContextManager[Step]]
"""Starts with these parameters; each step has these same gradients. Both are float32 vectors."""
