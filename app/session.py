"""The session as a value.

Its settings are the rows of two tables: the fields of `Config`, and the fields of `Session` that are made by `setting`.
Knows no HTTP and no store's insides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np

from app.compute import TENSOR_BYTES
from app.digest import digest_of
from app.errors import InvalidSession
from app.once import Done
from app.step import KeptAnswer
from app.store.base import Head
from app.store.block_sums import Blocks
from app.store.generation import MOST_UNDO
from app.store.piece import Piece
from app.worker_settings import WorkerSettings, read_workers, write_workers
from optim_engine import Config, InvalidConfig, Layout, State
from optim_engine.arrays import COMPUTE_DTYPES
from optim_engine.fields import custom, integer, named, setting, settings_of

DTYPES: Mapping[str, np.dtype[Any]] = {name: np.dtype(name) for name in COMPUTE_DTYPES}
"""Every dtype that a tensor may have, by its name."""

PATTERN_BYTES = 32
"""The work for a character of a group's pattern, in the same measure as `TENSOR_BYTES`."""
LONGEST_TTL = 10 * 365 * 86400
MOST_LABELS = 64
LONGEST_LABEL = 256


def _read_ttl(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST_TTL:
        return value
    words = f"must be a number of seconds above 0 and at most {LONGEST_TTL}, or null, not {named(value)}"
    raise InvalidConfig(where, words)


def _read_labels(where: str, labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise InvalidConfig(where, f"must be an object of up to {MOST_LABELS} strings, not {named(labels)}")
    if len(labels) > MOST_LABELS:
        raise InvalidConfig(where, f"{len(labels)} labels; the limit is {MOST_LABELS}")
    for name, value in labels.items():
        _check_label(f"{where}.{name:.80}", name, value)
    return dict(labels)


def _check_label(where: str, name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidConfig(where, f"must be a string of up to {LONGEST_LABEL} characters, not {named(value)}")
    for what, text in (("the name", name), ("the string", value)):
        if len(text) > LONGEST_LABEL:
            raise InvalidConfig(where, f"{what} has {len(text)} characters; the limit is {LONGEST_LABEL}")


@dataclass(frozen=True)
class Session:
    """One training run's optimizer without the bytes of its state. An immutable value: a change makes a new one."""

    id: str
    tenant: str
    config: Config
    created_at: float
    updated_at: float
    undo: int = setting("The number of steps that can be undone.", integer(0, at_least=0, at_most=MOST_UNDO))
    workers: WorkerSettings | None = setting(
        "Several workers for one session, in rounds or asynchronously. Needs `hold_params`.",
        custom(None, read_workers, {}),
        changeable=True,
    )
    ttl_seconds: float | None = setting(
        "Seconds after its last change until the session expires.",
        custom(None, _read_ttl, {"type": ["number", "null"], "exclusiveMinimum": 0}),
        changeable=True,
    )
    labels: Mapping[str, str] = setting(
        f"Up to {MOST_LABELS} strings of up to {LONGEST_LABEL} characters, for your own use.",
        custom(dict, _read_labels, {}),
        changeable=True,
    )
    step: int = 0
    skipped_steps: int = 0
    rewinds: int = 0
    """The number of undone steps."""
    layout: Layout = field(default_factory=lambda: Layout({}))
    counts: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    applied: KeptAnswer | None = None
    """The last applied step; `None` once something else has replaced what it led to."""
    skipped: KeptAnswer | None = None
    """The last skipped step, until a later one is applied."""
    old_keys: Mapping[str | None, Done] = field(default_factory=dict)
    """The keys of a document of format 1, until the session's next save gives them to the store."""
    answered: Mapping[str, int] = field(default_factory=dict)
    """The checksum of the last answered parameter, by tensor (`last_params`)."""
    updates: bytes = b""
    """The sum of squares of each tensor's last update, packed (`last_updates`)."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The last warning of a step or a change, by kind (`advice`)."""

    @property
    def expires_at(self) -> float | None:
        return None if self.ttl_seconds is None else self.updated_at + self.ttl_seconds

    @property
    def breadth(self) -> int:
        """Return the work to go through its tensors and patterns, as `Compute.run` counts it."""
        return TENSOR_BYTES * len(self.counts) + PATTERN_BYTES * self.config.pattern_length

    @property
    def sums_pieces(self) -> bool:
        """Return whether its pieces have sums as checksums (`block_sums`), so that a step of lazy rows costs little."""
        return bool(self.config.lazy_groups)

    def beside(self) -> dict[str, Any]:
        """Return the settings that are not in `config`, as JSON has them."""
        return {name: getattr(self, name) for name in BESIDE} | {"workers": write_workers(self.workers)}

    def check_holds(self) -> None:
        """Raise `InvalidSession` unless the session holds parameters."""
        if not self.config.hold_params:
            words = "the session holds no parameters; create it with `hold_params` true"
            raise InvalidSession(words, where="hold_params")

    def after(self, **fields: Any) -> "Session":
        """Return the session with these fields, as `dataclasses.replace` does, which takes ten times as long."""
        session = object.__new__(Session)
        session.__dict__.update(self.__dict__, **fields)
        return session

    def with_answer(self, answer: KeptAnswer, *, skipped: bool) -> "Session":
        """Return the session with a step request answered."""
        if skipped:
            return self.after(skipped=answer)
        return self.after(applied=answer, skipped=None)

    def with_digest(self, pieces: Sequence[Piece]) -> "Session":
        return self.after(digest=digest_of(self.config, self.step, self.layout, self.counts, pieces))


BESIDE = settings_of(Session)
"""The table of the settings that steps do not depend on."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session and its state, as one head of the store names them."""

    head: Head
    session: Session
    state: State
    blocks: Blocks | None = None
    """The checksums of the state's blocks, where pieces have sums of them."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as a list has it: with its tensors' names, but without its layout and counts, which may be large."""

    session: Session
    tensors: Sequence[str]
    state_bytes: int
