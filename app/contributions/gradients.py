"""The gradients of one contribution, examined before it is taken."""

from dataclasses import dataclass

import numpy as np

from app.expansion import expanded
from app.session import Session
from app.step import StepRequest
from app.store.piece import Part
from app.workers.push import Packed, Push
from optim_engine import NonFinite, State, TensorMismatch, examine
from optim_engine.machine import ALONE, Machine

NO_MEMORY = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Examined:
    """Gradients that fit a session: dense, with their norm, or with the error of one that is not finite."""

    session: Session
    request: StepRequest
    norm: float | None
    not_finite: NonFinite | None
    parts: tuple[Part, ...] = ()

    def fit(self, session: Session) -> bool:
        """Return whether the gradients were examined with the settings and tensors that the session has."""
        known = self.session
        return known.config == session.config and known.layout.entries == session.layout.entries

    def of(self, push: Push) -> Push:
        """Return the push with what is known of its gradients."""
        return push.examined(self.norm, self.not_finite, tuple(piece for piece, _ in self.parts))


def examined(
    session: Session, state: State | None, packed: Packed, machine: Machine = ALONE, *, is_stored: bool
) -> Examined:
    """Examine the gradients of a contribution. Raises `TensorMismatch`.

    `state` is needed for a session with lazy rows. Those that are finite have their pieces with `is_stored`.
    """
    request = expanded(packed.upload.request, session.layout)
    state = state or State(session.step, session.layout, session.counts, NO_MEMORY)
    grads, rows, grad_scale = request.grads, request.rows, request.grad_scale
    for tensor in grads:
        check_known(session, tensor)
    try:
        norm = examine(session.config, state, grads, grad_scale=grad_scale, rows=rows, machine=machine)
    except NonFinite as error:
        return Examined(session, request, None, error)
    return Examined(session, request, norm, None, packed.parts if is_stored else ())


def check_known(session: Session, tensor: str) -> None:
    """Raise `TensorMismatch` unless the session has this tensor, because a contribution brings no parameters."""
    known = session.layout.entries
    if not known:
        raise TensorMismatch(tensor, "has a gradient, and the session has no parameters yet: PUT …/params first")
    if tensor not in known:
        raise TensorMismatch(tensor, f"is none of the session's, such as {min(known)!r:.80}")
