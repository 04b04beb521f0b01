"""Resets of objects after a fork: in the child an inherited lock may never be released, and a socket is the parent's.

`multiprocessing` forks by default on Linux, and so does a DataLoader that starts its workers.
"""

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """An object that a fork copies into the child process."""

    def after_fork(self) -> None:
        """Reset the object. Runs in the child before its other code, and must wait for no lock."""


_followed: WeakSet[Forkable] = WeakSet()


def follow(thing: Forkable) -> None:
    """Call `thing.after_fork()` in every process that is forked from now on, as long as `thing` lives."""
    _followed.add(thing)


def _begin_anew() -> None:
    for thing in list(_followed):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_begin_anew)
