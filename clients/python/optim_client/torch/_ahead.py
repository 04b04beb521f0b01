"""A step that runs ahead: it is sent by a thread, and its answer is put in place by whoever needs it first."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

T = TypeVar("T")


class StepAhead(Generic[T]):
    """A step under way, as `step(wait=False)` returns it.

    Until it has a result, the parameters are those from before the step, and the gradients must not change. The first
    forward pass of a module that has one of the parameters waits for it.

    Example:
        ahead = optimizer.step(wait=False)
        batch = next(batches)
        ahead.result()
    """

    def __init__(
        self,
        send: Callable[[], T],
        finish: Callable[[T], None],
        params: Iterable[torch.Tensor],
        loss: Any = None,
    ) -> None:
        self._finish = finish
        self._loss = loss
        self._params = frozenset(map(id, params))
        self._answer: Future[T] = Future()
        self._settled = False
        self._lock = threading.RLock()
        thread = threading.Thread(target=self._run, args=(send,), name="optim-step", daemon=True)
        self._hook = register_module_forward_pre_hook(self._before_forward)
        try:
            thread.start()
        except BaseException:  # without the thread, each forward pass would wait forever
            self._hook.remove()
            raise

    def done(self) -> bool:
        """Return whether the answer, or the error, has come.

        Example:
            assert ahead.done()
        """
        return self._answer.done()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer, and put the new parameters in place.

        Args:
            timeout: The most seconds to wait; without it, as long as the client tries.

        Returns:
            The closure's loss, if the step had a closure.

        Raises:
            TimeoutError: The time is over; the step is still under way.
            OptimError: The step failed, as `Session.step` does.

        Example:
            loss = ahead.result()
        """
        with self._lock:
            if not self._settled:
                error = self._answer.exception(timeout)
                if error is None:
                    self._finish(self._answer.result())  # again, if this is interrupted
                self._settled = True
                self._hook.remove()
            self._answer.result()
            return self._loss

    @property
    def is_settled(self) -> bool:
        """Return whether the parameters are in place, or the error was raised."""
        return self._settled

    def _run(self, send: Callable[[], T]) -> None:
        try:
            answer = send()
        except BaseException as error:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(answer)

    def _before_forward(self, module: torch.nn.Module, _: object) -> None:
        if any(id(param) in self._params for param in module.parameters()):
            self.result()
