"""A sync face for `AsyncClient` and its sessions, so that one suite of tests serves both clients."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

from optim_client import AsyncClient, AsyncEvents, AsyncSession, AsyncSessions, AsyncWorker, Page

ASYNC = (AsyncClient, AsyncEvents, AsyncSessions, AsyncSession, AsyncWorker)


class Blocking:
    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._target, name))

    def __iter__(self) -> Iterator[Any]:
        return self._all(aiter(self._target))

    def __enter__(self) -> Any:
        return self._wrap(self._runner.run(self._target.__aenter__()))

    def __exit__(self, *error: Any) -> None:
        self._runner.run(self._target.__aexit__(*error))

    def _all(self, pages: AsyncIterator[Any]) -> Iterator[Any]:
        while (session := self._runner.run(anext(pages, None))) is not None:
            yield self._wrap(session)

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, ASYNC):
            return Blocking(value, self._runner)
        if isinstance(value, AsyncIterator):
            return self._all(value)
        if isinstance(value, Page):
            return dataclasses.replace(value, sessions=[self._wrap(session) for session in value.sessions])
        if asyncio.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._wrap(self._runner.run(value(*args, **kwargs)))
        if callable(value):
            return lambda *args, **kwargs: self._wrap(value(*args, **kwargs))
        return value
