"""A load of eight concurrent trainings while something dies: each client repeats a step until it is answered.

A client prepares steps while nobody answers, so that it then sends without a pause and the next kill hits all eight.
Every answer is compared with the engine in this process, and in the end the whole store.
"""

import random
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Self, TypeAlias

from optim_client._protocol import Request, Response

from optim_engine import Outcome
from tests.durability.table_twin import TableTwin
from tests.durability.twin import Twin
from tests.durability.wire import LOST, Wire, assert_replay, code_of, was_replayed

Kind: TypeAlias = Literal["sent", "held", "lazy"]
SIZES: list[tuple[int, Kind]] = [
    (8, "sent"), (8, "held"), (8, "sent"), (1_500, "lazy"), (100, "sent"), (100, "held"), (1_000, "sent"),
    (1_000, "held"),
]  # fmt: skip
"""By session: the rows of its largest tensor, and whether parameters are sent, held, or held as a lazy table, of which
steps name few rows. Bodies are small or large, and some states consist of many pieces, which are saved while the step
is computed."""
PREPARED = 12
"""The number of steps that a client prepares; a sixth of that for the largest sessions."""
LATEST_SECONDS = 0.3
"""The time of many small steps or of a few large ones."""
PAUSE_SECONDS = 0.03
PATIENCE_SECONDS = 90.0


class Trainee:
    """A session with its client."""

    def __init__(self, port: int, rows: int, kind: Kind) -> None:
        self.is_asking = False
        """True while a request is in flight."""
        self.patience = PATIENCE_SECONDS
        """Seconds until a step must be answered, with all retries."""
        self.answered = 0
        self.seen = Counter[str]()
        """Counts of refusals, and of the outcomes of steps whose answers were lost."""
        self.unanswered = 0
        """The number of tries whose connection was closed or refused."""
        self.slowest = 0.0
        """The seconds of the slowest answer or refusal."""
        self._wire = Wire(port)
        is_lazy = kind == "lazy"
        self._twin = TableTwin(self._wire, rows) if is_lazy else Twin(self._wire, hold_params=kind == "held", rows=rows)
        self._steps: deque[tuple[Request, Outcome]] = deque()
        self._most = PREPARED if rows < 1_000 else PREPARED // 6

    def train(self, over: threading.Event) -> None:
        """Take steps until `over` is set. Repeat every fourth step after its answer."""
        self._prepare(self._most)
        while self._steps or not over.is_set():
            self._prepare(1)
            request, outcome = self._steps.popleft()
            answer, tries = self._answer_to(request)
            if tries > 1:
                self.seen["steps sent again"] += 1
                self.seen["of them saved before"] += was_replayed(answer)
            self._twin.compare(answer, outcome)
            self.answered += 1
            if self.answered % 4 == 0:
                assert_replay(self._answer_to(request)[0], answer)

    def check(self) -> None:
        """Assert that the store has the acknowledged steps and no others."""
        assert self._twin.state.t == self.answered
        self._twin.check(self._wire)

    def close(self) -> None:
        self._wire.close()

    def _prepare(self, count: int) -> None:
        while len(self._steps) < count:
            grads = self._twin.grads()
            self._steps.append((self._twin.request(grads), self._twin.advance(grads)))

    def _answer_to(self, request: Request) -> tuple[Response, int]:
        """Send the request until it is answered; return the answer and the number of tries."""
        started, tries = time.monotonic(), 1
        while (answer := self._try(request)) is None or answer.status == 503:
            tries += 1
            if answer is not None:
                assert code_of(answer) == "store_unavailable", answer.body
                assert int(answer.headers["retry-after"]) >= 1
                self.seen["answers 503 store_unavailable"] += 1
            assert time.monotonic() < started + self.patience, f"no answer to {request.path}: {answer}"
            self._prepare(self._most)
            time.sleep(PAUSE_SECONDS)
        return answer, tries

    def _try(self, request: Request) -> Response | None:
        """Send the request once; return `None` if the connection was lost."""
        started = time.monotonic()
        self.is_asking = True
        try:
            answer = self._wire.send(request)
        except TimeoutError:  # it hangs
            raise
        except LOST:
            self.unanswered += 1
            return None
        finally:
            self.is_asking = False
        self.slowest = max(self.slowest, time.monotonic() - started)
        return answer


class Load:
    """The eight trainings, which run during a `with` and check the store at its end.

    An error in one of them is raised in the next wait, or at the end.
    """

    def __init__(self, port: int) -> None:
        self.trainees = [Trainee(port, rows, kind) for rows, kind in SIZES]
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(len(self.trainees))

    def __enter__(self) -> Self:
        self._trainings = [self._pool.submit(trainee.train, self._over) for trainee in self.trainees]
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._over.set()
        for trainee in self.trainees if failed else ():
            trainee.patience = 0.0
        self._pool.shutdown()
        try:
            if not failed:
                self._raise_what_failed()
                for trainee in self.trainees:
                    trainee.check()
        finally:
            for trainee in self.trainees:
                trainee.close()

    def wait_for_each(self) -> None:
        """Wait until each was answered once more."""
        before = [trainee.answered for trainee in self.trainees]
        while any(trainee.answered == count for trainee, count in zip(self.trainees, before, strict=True)):
            self._raise_what_failed()
            time.sleep(0.001)

    def wait_for_a_moment(self, chance: random.Random) -> None:
        """Wait until each was answered once more, then for a random moment when all have a request in flight."""
        self.wait_for_each()
        time.sleep(chance.uniform(0, LATEST_SECONDS))
        while not all(trainee.is_asking for trainee in self.trainees):
            self._raise_what_failed()
            time.sleep(0.0002)

    def _raise_what_failed(self) -> None:
        for training in self._trainings:
            if training.done():
                training.result()

    @property
    def answered(self) -> int:
        return sum(trainee.answered for trainee in self.trainees)

    @property
    def unanswered(self) -> int:
        return sum(trainee.unanswered for trainee in self.trainees)

    @property
    def slowest(self) -> float:
        return max(trainee.slowest for trainee in self.trainees)

    @property
    def seen(self) -> Counter[str]:
        return sum((trainee.seen for trainee in self.trainees), Counter())
