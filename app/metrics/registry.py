"""All metrics of a service."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.logs import log
from app.metrics.exposition import text_of
from app.metrics.families import Family
from app.metrics.process import ProcessMetrics
from app.metrics.regions import RegionMetrics
from app.metrics.requests import RequestMetrics
from app.metrics.rounds import RoundMetrics
from app.metrics.sharing import FOLDER, SECONDS, Folder, numbers_of
from app.metrics.steps import StepMetrics
from app.metrics.store import StoreMetrics


class Metrics:
    """The metrics of one service, by their nouns. Several server processes share theirs in a folder (see `serve`)."""

    def __init__(self) -> None:
        self.requests = RequestMetrics()
        self.steps = StepMetrics()
        self.store = StoreMetrics()
        self.rounds = RoundMetrics()
        self.regions = RegionMetrics()
        nouns = self.requests, self.steps, self.store, self.rounds, self.regions, ProcessMetrics()
        self.families: list[Family] = [family for noun in nouns for family in noun.families]
        self._folder = Folder(Path(os.environ[FOLDER])) if FOLDER in os.environ else None

    def show(self, families: Iterable[Family]) -> None:
        """Show more families: those whose numbers the parts of the service keep."""
        self.families += families

    def count(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float | None,
        code: str | None,
        phases: Sequence[float] | None,
    ) -> None:
        """Count a request that was answered, with its `seconds` unless it had no end; `phases` are those of a step."""
        self.requests.count(method, route, status, seconds, code)
        if phases is not None:
            self.steps.count_phases(phases)

    def text(self) -> bytes:
        """Return the numbers of all server processes in Prometheus's text format."""
        if self._folder is None:
            return text_of(self.families, numbers_of(self.families))
        self._folder.write(numbers_of(self.families))
        return text_of(self.families, self._folder.joined(self.families))

    async def share(self) -> None:
        """Let other server processes see the numbers of this one, for as long as the service runs."""
        while self._folder is not None:
            try:
                self._folder.write(numbers_of(self.families))
            except OSError as error:
                log.warning("cannot share the metrics with other server processes", cause=str(error))
            await asyncio.sleep(SECONDS)

    def share_last(self) -> None:
        """Leave the last numbers to the other server processes."""
        if self._folder is not None:
            self._folder.write(numbers_of(self.families))
