"""What a session may be told: the names that `create` and `update` take, for editors and type checkers.

The service decides what is valid: a setting that this file does not know is sent as a hyperparameter.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict


class Schedule(TypedDict, total=False):
    """What lr is multiplied by; which of the settings a kind has, the service says."""

    kind: Required[
        Literal[
            "constant", "linear_warmup", "cosine", "warmup_cosine", "step", "exponential", "polynomial", "inverse_sqrt",
            "warmup_stable_decay",
        ]
    ]  # fmt: skip
    start_step: int
    warmup_steps: int
    total_steps: int
    stable_steps: int
    decay_steps: int
    step_size: int
    min_factor: float
    gamma: float
    power: float


class Changes(TypedDict, total=False):
    """What may be changed between two steps. `None` puts the default back; labels are merged key by key."""

    groups: Sequence[Mapping[str, Any]] | None
    schedule: Schedule | Mapping[str, Any] | None
    clip: Mapping[str, Any] | None
    on_other_params: Literal["warn", "accept", "reject"] | None
    ttl_seconds: float | None
    labels: Mapping[str, str | None] | None
    lr: float | None
    betas: tuple[float, float] | None
    eps: float | None
    weight_decay: float | None
    amsgrad: bool | None
    maximize: bool | None
    decoupled_weight_decay: bool | None
    momentum: float | None
    dampening: float | None
    nesterov: bool | None
    alpha: float | None
    centered: bool | None


class Settings(Changes, total=False):
    """What a session is created with. `groups=[]` decays every tensor; without it those named `*bias` are spared."""

    on_non_finite: Literal["reject", "skip"]
    hold_params: bool
    wire_dtype: Literal["bfloat16", "float16"] | None


FIELDS = frozenset({
    "groups", "schedule", "clip", "ttl_seconds", "labels", "on_non_finite", "hold_params", "wire_dtype",
    "on_other_params",
})  # fmt: skip


def document(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The request's own fields as they are, every other setting in `hyperparameters`."""
    fields = {name: value for name, value in settings.items() if name in FIELDS}
    hyperparameters = {name: value for name, value in settings.items() if name not in FIELDS}
    return {**fields, "hyperparameters": hyperparameters} if hyperparameters else fields
