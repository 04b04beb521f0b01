"""The reports of a step to its caller, while it fills the next state's memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from optim_engine.arrays import Array

Filled: TypeAlias = Callable[[Array, int, int], None]
"""A callback `filled(memory, start, end)`: those bytes of the next state's memory have their final values.

It is called once for every byte, in ranges of about 1 MiB in any order, possibly from several threads at once. A step
that is skipped does not call it.
"""


class Touched(NamedTuple):
    """Ranges of bytes, each `length` long, that begin at `starts` (int64), which rise. They do not overlap."""

    starts: Array
    length: int


Touching: TypeAlias = Callable[[Array, Sequence[Touched]], None]
"""A callback `touching(memory, ranges)`: a step will change those bytes of the next state's memory. Until it returns,
they have the values of the state before, so the caller may read them a last time.

It is called once by a step that updates lazy rows and keeps the state's layout. `filled` is then called only for the
bytes of other tensors in the step and of numbers that their rules share (`sharing.py`); other bytes are those of the
state before.
"""


class Reports(NamedTuple):
    """The callbacks that a step was given."""

    filled: Filled | None
    touching: Touching | None
