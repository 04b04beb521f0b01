"""One optimizer step: the request and the answer, which codecs read and write.

Knows no session, no wire format and no HTTP; of the store only what is saved with a step.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np

from app.once import Once
from app.store.ledger import LedgerSave
from optim_engine.arrays import Arrays


def nbytes_of(arrays: Arrays) -> int:
    """Return how many bytes the arrays have."""
    return sum([array.nbytes for array in arrays.values()]) if arrays else 0


Renewed: TypeAlias = Callable[[], Awaitable[LedgerSave | None]]


@dataclass(frozen=True, slots=True)
class Collected:
    """The parts of a save that a step made of contributions adds: their entries in its row of the history, the warnings
    of its answer, and the change of the ledger.

    `renewed` is called if the store holds another ledger by then. It returns the change of that one, if it concerns the
    step in nothing, such as the renewal of a lease.
    """

    entries: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    ledger: LedgerSave
    renewed: Renewed


@dataclass(frozen=True)
class StepRequest:
    """The request of one step, with the conditions of doing it once.

    `rows` has the indices of a tensor's rows, strictly increasing int64, where its gradient is of these rows alone.
    Gradients with `at` (the same of single elements) or `scale` (of int8) are compressed, until `expansion` makes them
    dense.
    `overrides` has hyperparameters as JSON has them. Gradients are to be divided by `grad_scale`. `forms` has the form
    in which each tensor was written, if the media type has several. `may_change` says that the client shares the memory
    of the arrays, and could write to it at any time. `dtypes` says that the gradients are aggregates, in the compute
    dtype, and has the dtypes that they stand for.
    """

    grads: Arrays
    once: Once
    params: Arrays = field(default_factory=dict)
    step: int | None = None
    lr: float | None = None
    overrides: Mapping[str, Any] | None = None
    grad_scale: float = 1.0
    loss: float | None = None
    rows: Arrays = field(default_factory=dict)
    at: Arrays = field(default_factory=dict)
    scale: Arrays = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    may_change: bool = False
    collected: Collected | None = None
    dtypes: Mapping[str, np.dtype[Any]] | None = None

    def dtype_of(self, name: str) -> np.dtype[Any]:
        """Return the dtype in which the new parameter of a tensor is answered: that of its gradient as it came."""
        return self.grads[name].dtype if self.dtypes is None else self.dtypes[name]

    @property
    def ledger(self) -> LedgerSave | None:
        """Return the change of the session's ledger that is saved with the step."""
        return self.collected.ledger if self.collected else None

    @property
    def is_compressed(self) -> bool:
        """Return whether a gradient is not dense yet."""
        return bool(self.at or self.scale)

    @cached_property
    def nbytes(self) -> int:
        """Return how many bytes its arrays have."""
        return nbytes_of(self.grads) + nbytes_of(self.params) + nbytes_of(self.rows)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The part of an answer that a session keeps, to recognize the request and answer it with the same bytes.

    `key` and `body` are the request's, `lr` the one that it gave. `params_digest` names the parameters that it was
    answered with; a document of an earlier version has none. `warnings` is what the answer said. `config` is what the
    step used, where the session's has changed since (`None`: it has not).
    """

    step: int
    key: str | None
    body: str
    lr: float | None
    metrics: Mapping[str, Any]
    digest: str
    params_digest: str | None = None
    warnings: Sequence[str] = ()
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StepAnswer:
    """The answer of a step; the same, array for array, when it is replayed. `etag` is the session's now.

    `rows` are the request's: of those tensors `params` has these rows alone. Without `params` the request preferred an
    answer that has none. A `preview` is the answer that a step would get; nothing was saved. `staleness` is that of an
    asynchronous contribution.
    """

    kept: KeptAnswer
    params: Arrays
    etag: str
    skipped: bool = False
    replayed: bool = False
    preview: bool = False
    rows: Arrays = field(default_factory=dict)
    staleness: int | None = None

    def without_params(self) -> Self:
        """Return the answer without its parameters; the rest is the same."""
        return replace(self, params={}, rows={})

    @property
    def outcome(self) -> str:
        """Return `applied`, `skipped` or `replayed`."""
        return "replayed" if self.replayed else "skipped" if self.skipped else "applied"
