"""The start of requests on one connection: paced, and for some when the body is whole, in the parser's turn."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.types import Scope
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.web.at_once import AT_ONCE, AtOnce, start
from app.web.body import BULK_BYTES
from app.web.endless import ENDLESS, Endless
from app.web.one_write import with_whole_answers
from app.web.pacing import Pacing

STOPPING = "optim.stopping"
"""The key in the state of an application's ASGI lifespan of a function to call when the server begins to stop: what
waits for others is answered then."""


class Starting(HttpToolsProtocol):
    """uvicorn's protocol, which starts each request in a task of its own and as soon as its head has come."""

    _held: tuple[RequestResponseCycle, ASGI3Application] | None = None
    """A request that starts when its body is whole, or longer than expected."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        pacing: Pacing,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._pacing = pacing
        self._at_once: AtOnce | None = app_state.get(AT_ONCE)
        self._stopping: Callable[[], None] = app_state.get(STOPPING, lambda: None)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        scope: Scope = cycle.scope  # type: ignore[assignment]
        if self._at_once is None or cycle.waiting_for_100_continue or not self._at_once.may_take(scope):
            self._begin(cycle, partial(self._start, cycle, app))
        elif cycle.more_body:
            self._held = cycle, app
        else:
            self._begin(cycle, partial(self._start_at_once, cycle, app))

    def _begin_held(self) -> None:
        if self._held is not None:
            (cycle, app), self._held = self._held, None
            self._begin(cycle, partial(self._start_at_once, cycle, app))

    def _begin(self, cycle: RequestResponseCycle, start: Callable[[], None]) -> None:
        if not self._pacing.begin(cycle.scope["path"], start):
            self.flow.pause_reading()

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.flow.resume_reading()
        super()._start_asgi_task(cycle, app)

    def _start_at_once(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start a request that may be answered at once: without a task if its body is whole and nothing has to wait."""
        is_whole = cycle.keep_alive and not cycle.more_body
        scope: Scope = cycle.scope  # type: ignore[assignment]
        if not is_whole or self._at_once is None or not self._at_once.is_free(scope):
            self._start(cycle, app)
            return
        self.flow.resume_reading()
        answering: Any = with_whole_answers(app, cycle, self.transport)  # type: ignore[arg-type]
        if (task := start(cycle.run_asgi(answering), self.loop)) is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._held is not None and len(self.cycle.body) >= BULK_BYTES:
            self._begin_held()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._begin_held()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._begin_held()

    @property
    def endless_bytes(self) -> int | None:
        """Return the bytes that were written of the answer under way, if it has no end."""
        scope: Scope = {} if self.cycle is None else self.cycle.scope  # type: ignore[assignment]
        endless: Endless | None = scope.get(ENDLESS)
        return None if endless is None else endless.written

    def shutdown(self) -> None:
        self._stopping()
        self._begin_held()
        super().shutdown()
        if self.endless_bytes is not None and self.transport.get_write_buffer_size():
            self.transport.abort()  # its client does not take what it has, and may connect again elsewhere
