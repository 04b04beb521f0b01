"""A session as the engine alone computes it, called directly: the model of any sequence of requests.

It keeps every state by value: an undo goes back to the one before. Knows no HTTP and no store.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from optim_client import Int8, Rows, TopK
from optim_client._gradients import parts_of
from optim_client._tensors import decode

from app import plain
from app.digest import digest_of
from app.store.block_sums import sum_of
from app.store.piece import Piece, checksum_of, cut
from optim_engine import Config, Edits, Outcome, State, step
from optim_engine.arrays import Array, Arrays
from optim_engine.checks import refusal_of
from tests.bodies import encode
from tests.engine.cases import same_bits
from tests.service.calls import SAFETENSORS

SHAPES = {"w": (3, 4), "x": (2, 5), "own": (2, 3), "emb": (6, 3), "gain": (), "layer.bias": (4,)}
"""The tensors of a session. `own` may have a group with another rule, and `emb` one with lazy rows."""


@dataclass(frozen=True, eq=False, repr=False)
class Asked:
    """A step as a client asks for it; `once` is for this step alone: `lr`, `overrides` or `grad_scale`."""

    grads: Mapping[str, Any]
    params: Arrays
    number: int | None
    key: str | None
    once: Mapping[str, Any]
    minimal: bool = False

    def content(self, *, keyed: bool = True) -> dict[str, Any]:
        """Return the body and the headers of the request."""
        parts = parts_of(self.grads)
        metadata = {name: json.dumps(value) for name, value in self.once.items()}
        metadata |= {} if self.number is None else {"step": str(self.number)}
        tensors = {"params": self.params, "grads": parts.floats}
        headers = {"content-type": SAFETENSORS} | ({"prefer": "return=minimal"} if self.minimal else {})
        headers |= {"idempotency-key": f'"{self.key}"'} if keyed and self.key else {}
        return {"content": encode(tensors, metadata, parts.others), "headers": headers}

    @property
    def rows(self) -> dict[str, Array]:
        return {name: np.asarray(g.indices, np.int64) for name, g in self.grads.items() if isinstance(g, Rows)}


@dataclass(eq=False, repr=False)
class Taken:
    """A step that was answered: its request, the bytes of the answer, and what became of it."""

    asked: Asked
    answer: bytes
    step: int
    skipped: bool
    undone: bool = False

    @property
    def fate(self) -> dict[str, object]:
        """Return the members of the refusal of its key once it is too old for its answer."""
        if self.skipped:
            return {"skipped": True}
        return {"applied_as_step": self.step} | ({"undone": True} if self.undone else {})


class Row(NamedTuple):
    """A row of the history."""

    step: int
    lr: float
    skipped: bool
    undone: bool = False


class Generation(NamedTuple):
    """All that an undo puts back."""

    state: State
    params: Arrays
    applied: Taken | None
    skipped: Taken | None


@dataclass(repr=False)
class EngineSession:
    """A session. `params` are the newest parameters that its client has, of the same dtype."""

    path: str
    config: Config
    undo: int
    params: Arrays
    state: State = field(default_factory=State.empty)
    skipped_steps: int = 0
    rewinds: int = 0
    applied: Taken | None = None
    skipped: Taken | None = None
    earlier: tuple[Generation, ...] = ()
    rows: list[Row] = field(default_factory=list)
    log: list[Taken] = field(default_factory=list)

    @property
    def digest(self) -> str:
        checksum = sum_of if self.config.lazy_groups else checksum_of
        pieces = [Piece("", len(data), checksum(data)) for data in cut(self.state.memory.data)]
        return digest_of(self.config, self.state.t, self.state.layout, self.state.counts, pieces)

    def seen(self) -> dict[str, Any]:
        """Return what the session's document must say."""
        return {
            "step": self.state.t,
            "skipped_steps": self.skipped_steps,
            "rewinds": self.rewinds,
            "undo": self.undo,
            "digest": self.digest,
            "tensors": dict(self.state.counts),
            "optimizer": self.config.optimizer,
        }

    def unheld(self, names: Sequence[str]) -> dict[str, Array]:
        """Return the parameters that a step of these tensors must send."""
        held = self.state.held() if self.config.hold_params else {}
        return {name: self.params[name] for name in names if name not in held}

    def computed(self, asked: Asked) -> Outcome:
        """Return the outcome of the session's next step; nothing is kept."""
        grads = {name: self._dense(name, g) for name, g in asked.grads.items()}
        return step(self.config, self.state, asked.params, grads, rows=asked.rows, **asked.once)

    def _dense(self, name: str, g: Any) -> Array:
        if isinstance(g, Rows):
            return self._dense(name, g.values)
        if isinstance(g, Int8):
            return np.asarray(g.values).astype(np.float32) * np.float32(g.scale)
        if isinstance(g, TopK):
            values = self._dense(name, g.values)
            dense = np.zeros(self.params[name].size, values.dtype)
            dense[g.indices] = values
            return dense.reshape(self.params[name].shape)
        return np.asarray(g)

    def take(self, asked: Asked, outcome: Outcome, answer: bytes) -> None:
        """Keep the outcome of the step, which was answered so."""
        taken = Taken(asked, answer, outcome.state.t, outcome.skipped)
        now = Generation(self.state, self.params, self.applied, self.skipped)
        if outcome.skipped:
            self.skipped_steps += 1
            self.skipped = taken
        else:
            self.earlier = (now, *self.earlier)[: self.undo]
            self.applied, self.skipped = taken, None
            if not self.config.hold_params:
                self.params = {**self.params, **outcome.params}
        self.state = outcome.state
        self.rows.append(Row(taken.step, outcome.metrics.lr, taken.skipped))
        self.log.append(taken)

    def take_back(self) -> None:
        """Undo the last step."""
        last = max(i for i, row in enumerate(self.rows) if not (row.skipped or row.undone))
        self.rows[last] = self.rows[last]._replace(undone=True)
        assert self.applied
        self.applied.undone = True
        (self.state, self.params, self.applied, self.skipped), *earlier = self.earlier
        self.earlier = tuple(earlier)
        self.rewinds += 1

    def replace_state(self, state: State) -> None:
        """Take another state, after which nothing can be undone or answered again."""
        self.rows = [row for row in self.rows if row.step <= state.t or self.state.t <= state.t]
        self.state, self.earlier, self.applied, self.skipped = state, (), None, None

    def edit(self, edits: Edits) -> None:
        self.replace_state(edits.apply(self.state))
        self.params = {edits.rename.get(name, name): array for name, array in self.params.items()}

    def restore(self, file: "EngineSession") -> None:
        self.replace_state(file.state)
        self.skipped_steps, self.params = file.skipped_steps, file.params

    def fits(self, file: "EngineSession") -> bool:
        """Return whether the session can take the state of that file."""
        ours, theirs, entries = self.config, file.config, file.state.entries
        if (ours.optimizer, ours.hold_params, ours.average) != (theirs.optimizer, theirs.hold_params, theirs.average):
            return False
        known = self.state.entries
        if any(name not in entries or entries[name].spec != known[name].spec for name in known):
            return False
        return all(self._takes(name, file) for name in entries)

    def _takes(self, name: str, file: "EngineSession") -> bool:
        entry, group, is_begun = file.state.entries[name], self.config.group_of(name), file.state.counts[name] > 0
        needed = self.config.slots_of(group, entry.spec.shape, begun=is_begun)
        rules = {config.optimizer_of(config.group_of(name)) for config in (self.config, file.config)}
        refused = refusal_of(self.config, group, name, entry.spec.shape)
        return not refused and set(entry.slots) == set(needed) and (len(rules) == 1 or not is_begun)

    def copied(self, path: str, undo: int) -> "EngineSession":
        """Return a new session in the same state, that repeats no answer: a fork, or one made of a state file."""
        return replace(
            self, path=path, undo=undo, rewinds=0, applied=None, skipped=None, earlier=(), rows=[], log=[]
        )  # fmt: skip


def agree(answer: bytes, asked: Asked, outcome: Outcome, digest: str) -> None:
    """Assert that a step was answered as the engine did."""
    params, about = decode(answer, "params")
    assert same_bits(params, {} if asked.minimal else dict(outcome.params))
    rows, _ = decode(answer, "rows")
    assert same_bits(rows, {} if asked.minimal else asked.rows)
    assert (about["step"], about["skipped"]) == (str(outcome.state.t), str(outcome.skipped).lower())
    assert json.loads(about["metrics"]) == plain.numbers(vars(outcome.metrics))
    assert about["digest"] == digest


def agree_in_all(file: bytes, state: State) -> None:
    """Assert that a state file has all that the state has."""
    for slot, tensor, array in state.arrays():
        found = decode(file, slot)[0]
        assert same_bits({tensor: found[tensor]}, {tensor: array}), (slot, tensor)


KEYS = count()


def new_key() -> str:
    """Return a key that no request had before: an older state may come back, and its session still knows its keys."""
    return f"key {next(KEYS)}"
