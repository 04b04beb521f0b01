"""The command `watch`: the curves of sessions while they train, in the terminal."""

import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Union

import typer

from app.commands.following import later, short_ids, words_of
from app.commands.options import Url, client, session_of
from app.commands.output import is_terminal

if TYPE_CHECKING:
    from optim_client import Event, History, Session

    from app.commands.curves import Curves

PAUSE_SECONDS = 0.1
"""The least time between two pictures."""
LOOK_SECONDS = 0.5
"""The time between two looks at the terminal's size, while nothing happens."""

Seen = Union["History", "Event", Exception, None]
"""The past of a session, an event, an error, or the end of the session."""
Found = SimpleQueue[tuple[str, Seen]]


def watch(
    session_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The sessions.")], url: Url = None
) -> None:
    """Draw the curves of sessions as they train.

    They are loss, lr and grad norm. It goes on until all sessions are gone, or Ctrl-C. Where standard output is no
    terminal, each event is a line.
    """
    with client(url) as service:
        sessions = {session.id: session for session in (session_of(service, text) for text in session_ids)}
        found: Found = SimpleQueue()
        for session in sessions.values():
            Thread(target=_follow, args=(session, found), daemon=True).start()
        if is_terminal():
            _draw(list(sessions), found)
        else:
            _print(short_ids(sessions), found)


def _follow(session: "Session", found: Found) -> None:
    """Put the past of a session, its events and its end into the queue."""
    from app.commands.curves import POINTS

    try:
        with session.events() as events:
            past = session.history(points=POINTS)
            found.put((session.id, past))
            for event in later(past, events):
                found.put((session.id, event))
        found.put((session.id, None))
    except Exception as error:  # raised by the thread that waits for it
        found.put((session.id, error))


def _print(names: Mapping[str, str], found: Found) -> None:
    """Print each event as a line, until all sessions have ended."""
    from optim_client import Event

    left = len(names)
    while left:
        session_id, seen = found.get()
        if isinstance(seen, Event):
            typer.echo(f"{names[session_id]}  {words_of(seen)}")
        elif isinstance(seen, Exception):
            raise seen
        elif seen is None:
            left -= 1


def _draw(session_ids: list[str], found: Found) -> None:
    """Draw the curves whenever something happened, until all sessions have ended."""
    from app.commands.curves import Curves
    from app.commands.screen import opened

    curves = {session_id: Curves([]) for session_id in session_ids}
    with opened(curves) as screen:
        screen.draw(curves)
        while not all(each.is_over for each in curves.values()):
            if _take(curves, found) or screen.is_resized:
                screen.draw(curves)
                time.sleep(PAUSE_SECONDS)


def _take(curves: "dict[str, Curves]", found: Found) -> bool:
    """Take all that was found, and wait for it a while; return whether there was something."""
    from optim_client import Event

    from app.commands.curves import Curves

    seconds: float | None = LOOK_SECONDS
    taken = False
    with suppress(Empty):
        while True:
            session_id, seen = found.get(timeout=seconds)
            taken, seconds = True, 0
            if isinstance(seen, Exception):
                raise seen
            if isinstance(seen, Event):
                curves[session_id].take(seen)
            elif seen is None:
                curves[session_id].is_over = True
            else:
                curves[session_id] = Curves(seen)
    return taken
