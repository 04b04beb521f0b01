"""Requests that are answered in the parser's turn: a task and another turn of the event loop cost a small step dearly.

Python 3.12 calls such tasks eager. What waits after all goes on as a task.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, Protocol

from starlette.types import Scope

AT_ONCE = "optim.at_once"
"""The key of an application's `AtOnce` in the state of its ASGI lifespan."""


class AtOnce(Protocol):
    """The requests that an application can answer at once."""

    def may_take(self, scope: Scope) -> bool:
        """Return whether the request may be one of them: it starts when its body is whole, and not before."""

    def is_free(self, scope: Scope) -> bool:
        """Return whether a request that `may_take` took, and whose body is whole, will hardly wait.

        It must not use `asyncio.timeout`, which needs a task, before it has waited.
        """


def start(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
    """Run the coroutine until it waits, and return the task that goes on with it; `None` if it has ended."""
    context = copy_context()
    try:
        awaited = context.run(work.send, None)
    except StopIteration:
        return None
    return _task(work, awaited, loop, context)


def _task(
    work: Coroutine[Any, Any, None], awaited: Any, loop: asyncio.AbstractEventLoop, context: Context
) -> asyncio.Task[None]:
    async def rest() -> None:
        await _resumed(work, awaited)

    return loop.create_task(rest(), context=context)


@coroutine
def _resumed(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that waits for `awaited`."""
    while True:
        try:
            try:
                got = yield awaited
            except BaseException as error:
                awaited = work.throw(error)
            else:
                awaited = work.send(got)
        except StopIteration:
            return
