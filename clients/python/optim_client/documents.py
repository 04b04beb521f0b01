"""The service's documents: a session, a row of its history, a step's metrics. Frozen; unknown members are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from optim_client.settings import EffectiveSettings

S = TypeVar("S")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor that the session has seen. `step` counts its updates, `group` is the index of its group.

    `optimizer` is the rule that updates it; empty if the service is older and does not say.
    """

    shape: tuple[int, ...]
    dtype: str
    step: int
    group: int | None
    optimizer: str = ""

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        shape, optimizer = tuple(document["shape"]), document.get("optimizer", "")
        return cls(shape, document["dtype"], document["step"], document["group"], optimizer)


@dataclass(frozen=True, slots=True)
class TensorHealth:
    """The norms of a tensor, and the share of its parameter's elements that are 0.

    `m_norm` and `v_norm` are of the first and second moment, `update_norm` of the last update, `update_to_weight` that
    norm divided by `param_norm`. `None` stands for what the session does not hold, or does not know.
    """

    param_norm: float | None
    m_norm: float | None
    v_norm: float | None
    update_norm: float | None
    update_to_weight: float | None
    zero_share: float | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        given = {each.name: document[each.name] for each in fields(cls)}
        return cls(**{name: None if value is None else float(value) for name, value in given.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo(EffectiveSettings):
    """A session, with every effective setting.

    `step` is the number of the last step, and `rewinds` counts the undone ones. `digest` names the whole state:
    sessions with one digest step alike. In a list of sessions `tensors` is empty: `get()` has them. Only a list has
    `state_bytes`.
    """

    id: str
    step: int
    skipped_steps: int
    digest: str
    tensors: Mapping[str, TensorInfo]
    warnings: list[str]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    rewinds: int = 0
    tensor_count: int = 0
    state_bytes: int | None = None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        expires_at = document["expires_at"]
        tensors = {name: TensorInfo.read(tensor) for name, tensor in document.get("tensors", {}).items()}
        return cls(
            **{each.name: document[each.name] for each in fields(EffectiveSettings) if each.name in document},
            **{name: document[name] for name in ("id", "step", "skipped_steps", "digest", "warnings")},
            rewinds=document.get("rewinds", 0),
            tensors=tensors,
            tensor_count=document.get("tensor_count", len(tensors)),
            state_bytes=document.get("state_bytes"),
            created_at=datetime.fromisoformat(document["created_at"]),
            updated_at=datetime.fromisoformat(document["updated_at"]),
            expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
        )


@dataclass(frozen=True, slots=True)
class OptimizerInfo:
    """An optimizer that a session may use.

    `hyperparameters` has the JSON schema of each, with its `default`. `slots` are what it keeps for a matrix under its
    defaults. `bits` is `"machine"` if only the same machine computes the same bits, else `"everywhere"`. `reference` is
    the package whose names, defaults and numerics it has.
    """

    hyperparameters: Mapping[str, Mapping[str, Any]]
    slots: tuple[str, ...]
    bits: str
    reference: str

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError` and `TypeError`."""
        return cls(document["hyperparameters"], tuple(document["slots"]), document["bits"], document["reference"])


@dataclass(frozen=True, slots=True)
class Page(Generic[S]):
    """A page of sessions, newest first.

    `next_cursor` leads to the next page, and is `None` on the last one. `unreadable` has the ids of sessions that the
    service cannot read: they can be deleted.
    """

    sessions: list[S]
    next_cursor: str | None
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a step. `grad_norm` is from before clipping, and not finite where the step was skipped."""

    lr: float
    grad_norm: float
    update_norm: float
    param_norm: float
    clip_scale: float

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        return cls(**_metrics(document))


@dataclass(frozen=True, slots=True)
class Preview:
    """The answer that a step would get: its new parameters, in the structure of the given ones, and what it says.

    `step` and `digest` are those that the session would have. Where `skipped` is true, it would keep its step.
    """

    params: Any
    step: int
    skipped: bool
    digest: str
    metrics: Metrics
    params_digest: str | None
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A worker's contribution, and its fate: `"applied"`, `"dropped"` for a `reason`, or `None` in an open round.

    `round` is the number of the step that it became a part of, or was sent for. `norm` is that of its gradients. `seq`
    and `staleness` are of the asynchronous mode, `clip_scale` of the aggregate `clipped_mean`.
    """

    worker: str
    round: int
    fate: str | None
    reason: str | None = None
    epoch: int | None = None
    weight: float = 1.0
    norm: float | None = None
    seq: int | None = None
    staleness: int | None = None
    clip_scale: float | None = None

    @property
    def applied(self) -> bool:
        """Return whether the step has it."""
        return self.fate == "applied"

    @classmethod
    def read(cls, document: Document, number: int) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        known = {each.name: document[each.name] for each in fields(cls) if each.name in document}
        if known.get("norm") is not None:
            known["norm"] = float(known["norm"])
        return cls(**{**known, "round": number, "worker": document["worker"], "fate": document["fate"]})


@dataclass(frozen=True, slots=True)
class HistoryRow(Metrics):
    """A past step. A skipped one has the number of the step before it; an `undone` one is no part of the state.

    The step of a round has the `contributions` of its workers, and their fates.
    """

    step: int
    loss: float | None
    skipped: bool
    duration_ms: float
    time: datetime
    undone: bool = False
    contributions: tuple[Contribution, ...] = ()

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        return cls(
            **_metrics(document),
            step=document["step"],
            loss=None if document["loss"] is None else float(document["loss"]),
            skipped=document["skipped"],
            duration_ms=document["duration_ms"],
            time=datetime.fromisoformat(document["time"]),
            undone=document.get("undone", False),
            contributions=contributions_of(document, document["step"]),
        )


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that has joined and not left. The end of its lease fences nobody: `expired` shows who is silent.

    `lateness_seconds` is the time from the first contribution of its last round to its own.
    """

    worker: str
    epoch: int
    lease_expires_at: datetime
    last_round: int | None
    last_contribution_at: datetime | None
    lateness_seconds: float | None
    expired: bool = False

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        last = document.get("last_contribution_at")
        return cls(
            document["worker"],
            document["epoch"],
            datetime.fromisoformat(document["lease_expires_at"]),
            document.get("last_round"),
            datetime.fromisoformat(last) if last else None,
            document.get("lateness_seconds"),
            document.get("expired", False),
        )


@dataclass(frozen=True, slots=True)
class RoundInfo:
    """A round: `state` is `"open"` or `"applied"`. An open one has `have` contributions, and needs `need` more.

    It closes at `closes_at` at the latest; without a quorum that is `None`. An applied one has `step` and `digest`, and
    each contribution its fate.
    """

    round: int
    state: str
    have: int
    need: int
    closes_at: datetime | None
    step: int | None
    digest: str | None
    contributions: tuple[Contribution, ...]

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        number, closes_at = document["round"], document.get("closes_at")
        return cls(
            number,
            document["state"],
            document["have"],
            document["need"],
            datetime.fromisoformat(closes_at) if closes_at else None,
            document.get("step"),
            document.get("digest"),
            contributions_of(document, number),
        )


def contributions_of(document: Document, number: int) -> tuple[Contribution, ...]:
    """Return the contributions of a round or of its step. Raises `KeyError`, `TypeError` and `ValueError`."""
    return tuple(Contribution.read(each, number) for each in document.get("contributions", ()))


def _metrics(document: Document) -> dict[str, float]:
    """Return the metrics. `float` reads what JSON has no number for: `"NaN"`, `"Infinity"`."""
    return {field.name: float(document[field.name]) for field in fields(Metrics)}
