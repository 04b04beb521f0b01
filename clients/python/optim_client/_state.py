"""What a client knows of its session between two calls. No I/O: the sync and the async session inherit it."""

from dataclasses import replace

from optim_client import _calls
from optim_client._protocol import Call
from optim_client._tensors import Arrays, ArraysLike, narrowed, widened
from optim_client.documents import Metrics, SessionInfo


class SessionState:
    """`info.step` and `info.digest` follow every step; the rest of `info` is as of the last `get()`.

    `metrics` and `skipped` are of the last step that this client made.
    """

    def __init__(self, info: SessionInfo) -> None:
        self.info = info
        self.metrics: Metrics | None = None
        self.skipped = False

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def digest(self) -> str:
        return self.info.digest

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.info.optimizer} at step {self.info.step}>"

    def _learned(self, info: SessionInfo) -> SessionInfo:
        self.info = info
        return info

    def _changed(self, info: SessionInfo) -> SessionInfo:
        """The known step stays: had another client stepped, the parameters here would not belong to the new one."""
        return self._learned(replace(info, step=self.info.step))

    def _step(
        self, params: ArraysLike | None, grads: ArraysLike | None, loss: float | None, lr: float | None
    ) -> Call[Arrays]:
        if grads is None:
            raise TypeError("step() needs grads: step(params, grads), or step(grads=…) where the session holds params")
        names, wire_dtype = list(grads), self.info.wire_dtype
        sent = narrowed(grads, wire_dtype) if wire_dtype else grads
        call = _calls.step(self.id, self.info.step + 1, params, sent, loss, lr)
        taken = call.then(lambda answer: self._stepped(answer, names))
        return taken.then(lambda after: widened(after, grads)) if wire_dtype else taken

    def _stepped(self, answer: _calls.Stepped, names: list[str]) -> Arrays:
        """The parameters in the order of the gradients; on the wire they have another."""
        params = {name: answer.params[name] for name in names}
        self.metrics, self.skipped = answer.metrics, answer.skipped
        self.info = replace(
            self.info,
            step=self.info.step if answer.skipped else answer.step,
            digest=answer.digest,
        )
        return params
