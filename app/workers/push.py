"""A push: the request that brings one contribution of a worker. Knows no wire format, no HTTP and no store."""

from dataclasses import dataclass, replace

from app.step import StepRequest
from app.store.piece import Part, Piece
from app.workers.entry import Entry, Fate, Reason
from optim_engine import NonFinite


@dataclass(frozen=True, slots=True)
class Push:
    """A contribution as it came, without the bytes of its gradients.

    `digest` identifies it; the epoch is no part of it, so that a worker that joined again may send the same again.
    `base_step` is the step whose parameters the gradients were computed from. `seq` is the worker's own number for it,
    in the asynchronous mode. The last three are known once the gradients are read: their norm, the error that names the
    first number that is not finite, and the pieces that hold them.
    """

    worker: str
    epoch: int
    digest: str
    weight: float = 1.0
    loss: float | None = None
    base_step: int | None = None
    seq: int | None = None
    norm: float | None = None
    not_finite: NonFinite | None = None
    pieces: tuple[Piece, ...] = ()

    def examined(self, norm: float | None, not_finite: NonFinite | None, pieces: tuple[Piece, ...]) -> "Push":
        """Return the push with what is known of its gradients."""
        return replace(self, norm=norm, not_finite=not_finite, pieces=pieces)

    def entry(self, *, fate: Fate | None = None, reason: Reason | None = None, staleness: int | None = None) -> Entry:
        """Return the record of the contribution with that fate."""
        known = self.worker, self.epoch, self.digest, self.weight, self.norm
        return Entry(*known, fate=fate, reason=reason, seq=self.seq, staleness=staleness)

    def dropped(self, reason: Reason) -> Entry:
        """Return the record of the contribution, dropped for that reason."""
        return self.entry(fate="dropped", reason=reason)

    def is_in(self, entry: Entry) -> bool:
        """Return whether the entry is of this contribution, whichever epoch it came with."""
        return (self.worker, self.digest) == (entry.worker, entry.digest)


@dataclass(frozen=True)
class Upload:
    """The request of a push as codecs read it: gradients as a step has them, and what stands beside them.

    `base_step` is the step of the parameters that the gradients were computed from, if the worker says so.
    """

    request: StepRequest
    epoch: int
    weight: float = 1.0
    base_step: int | None = None


@dataclass(frozen=True)
class Packed:
    """An upload, and the pieces of it that are stored until its round closes: those of a body of safetensors.

    `digest` identifies all of it except the epoch, so that a worker that joined again may send the same again.
    """

    upload: Upload
    parts: tuple[Part, ...]
    digest: str
