"""The settings of a session: the names that `create` and `update` take, and those that a session has.

They are here for editors and type checkers. The service decides what is valid; a setting that this file does not name
is sent as a hyperparameter. Only what JSON cannot hold, and names that are no settings, are refused here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, SupportsFloat, SupportsIndex, TypedDict

from optim_client._arguments import as_json

Optimizer = Literal[
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "ademamix",
    "asgd",
    "lamb",
    "lars",
    "lion",
    "muon",
    "nadam",
    "prodigy",
    "radam",
    "rmsprop",
    "rprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "stable_adamw",
    "yogi",
]
"""The update rules."""


class Start(TypedDict, total=False):
    """The setting of every schedule: its own steps s = 1, 2, … count from after `start_step`."""

    start_step: int


class ConstantSchedule(Start, total=False):
    """A learning rate that stays as it is."""

    kind: Required[Literal["constant"]]


class LinearWarmupSchedule(Start, total=False):
    """A rise to the full learning rate over `warmup_steps`."""

    kind: Required[Literal["linear_warmup"]]
    warmup_steps: Required[int]


class CosineSchedule(Start, total=False):
    """Half a cosine down to `min_factor` of the learning rate."""

    kind: Required[Literal["cosine"]]
    total_steps: Required[int]
    min_factor: float


class WarmupCosineSchedule(Start, total=False):
    """A linear warmup, then half a cosine; `total_steps` has both."""

    kind: Required[Literal["warmup_cosine"]]
    warmup_steps: Required[int]
    total_steps: Required[int]
    min_factor: float


class StepSchedule(Start, total=False):
    """A factor of `gamma` after every `step_size` steps."""

    kind: Required[Literal["step"]]
    step_size: Required[int]
    gamma: float


class ExponentialSchedule(Start, total=False):
    """A factor of `gamma` after every step."""

    kind: Required[Literal["exponential"]]
    gamma: Required[float]


class PolynomialSchedule(Start, total=False):
    """A fall to `min_factor` with the power `power` of what is left; linear by default."""

    kind: Required[Literal["polynomial"]]
    total_steps: Required[int]
    power: float
    min_factor: float


class InverseSqrtSchedule(Start, total=False):
    """A linear warmup, then a fall with the square root of the step."""

    kind: Required[Literal["inverse_sqrt"]]
    warmup_steps: Required[int]


class WarmupStableDecaySchedule(Start, total=False):
    """A linear warmup, `stable_steps` at the full learning rate, then a linear fall to `min_factor`."""

    kind: Required[Literal["warmup_stable_decay"]]
    warmup_steps: Required[int]
    stable_steps: Required[int]
    decay_steps: Required[int]
    min_factor: float


class PiecewiseSchedule(Start, total=False):
    """Factors that hold from one boundary to the next; there is one more of them than boundaries."""

    kind: Required[Literal["piecewise"]]
    boundaries: Required[Sequence[int]]
    factors: Required[Sequence[float]]


class CosineRestartsSchedule(Start, total=False):
    """Half cosines down to `min_factor`, one after the other, each `multiplier` times as long as the one before."""

    kind: Required[Literal["cosine_restarts"]]
    period: Required[int]
    multiplier: int
    min_factor: float


class OneCycleSchedule(Start, total=False):
    """Half a cosine from `start_factor` up to 1, for `warmup_fraction` of the steps, then one down to `end_factor`."""

    kind: Required[Literal["one_cycle"]]
    total_steps: Required[int]
    warmup_fraction: float
    start_factor: float
    end_factor: float


Schedule = (
    ConstantSchedule
    | LinearWarmupSchedule
    | CosineSchedule
    | WarmupCosineSchedule
    | StepSchedule
    | ExponentialSchedule
    | PolynomialSchedule
    | InverseSqrtSchedule
    | WarmupStableDecaySchedule
    | PiecewiseSchedule
    | CosineRestartsSchedule
    | OneCycleSchedule
)
"""The factor on the learning rate at each step."""


View = Literal["eval", "average"]
"""The views of held parameters, beside those that steps answer."""


class Hyperparameters(TypedDict, total=False):
    """The settings of the optimizers; each has some of them. `None` puts a default back."""

    lr: float | None
    betas: tuple[float, float] | tuple[float, float, float] | None
    eps: float | tuple[float | None, float] | None
    weight_decay: float | None
    amsgrad: bool | None
    maximize: bool | None
    decoupled_weight_decay: bool | None
    momentum: float | None
    dampening: float | None
    nesterov: bool | None
    alpha: float | None
    centered: bool | None
    momentum_decay: float | None
    beta2_decay: float | None
    d: float | None
    ns_coefficients: tuple[float, float, float] | None
    ns_steps: int | None
    adjust_lr_fn: str | None
    lr_decay: float | None
    initial_accumulator_value: float | None
    bias_correction: bool | None
    cautious: bool | None
    eps_root: float | None
    lambd: float | None
    t0: float | None
    etas: tuple[float, float] | None
    step_sizes: tuple[float, float] | None
    rho: float | None
    trust_coefficient: float | None
    decouple_lr: bool | None
    max_lr: float | None
    warmup_steps: int | None
    r: float | None
    weight_lr_power: float | None
    beta3: float | None
    decouple: bool | None
    use_bias_correction: bool | None
    safeguard_warmup: bool | None
    d0: float | None
    d_coef: float | None
    growth_rate: float | None


class Group(Hyperparameters, total=False):
    """Settings for the tensors whose names match one of the patterns `match`.

    A group with an `optimizer` has that rule's defaults. `name` is for a step's overrides. `sparse` says what a
    gradient of some rows does to the others.
    """

    match: Required[Sequence[str]]
    optimizer: Optimizer | None
    name: str | None
    sparse: Literal["dense", "lazy"] | None


class RoundSettings(TypedDict, total=False):
    """The settings of workers that train in rounds. `max_norm` is for `clipped_mean`, `trim` for `trimmed_mean`."""

    mode: Literal["rounds"]
    expected: int
    quorum: int
    deadline_seconds: float
    grace_seconds: float
    aggregate: Literal["mean", "mean_of_sums", "clipped_mean", "median", "trimmed_mean"]
    max_norm: float | None
    trim: float | None
    max_staleness: int
    lease_seconds: float


class AsyncSettings(TypedDict, total=False):
    """The settings of workers each of whose contributions is a step of its own."""

    mode: Required[Literal["async"]]
    max_staleness: int
    staleness: Literal["reject", "scale"]
    lease_seconds: float


class Changes(Hyperparameters, total=False):
    """The settings that may change between two steps. `None` puts a default back; labels are merged key by key."""

    groups: Sequence[Group] | None
    schedule: Schedule | None
    clip: Mapping[str, Any] | None
    on_other_params: Literal["warn", "accept", "reject"] | None
    workers: RoundSettings | AsyncSettings | None
    ttl_seconds: float | None
    labels: Mapping[str, str | None] | None


class Settings(Changes, total=False):
    """The settings of a new session. `groups=[]` decays every tensor; without it those named `*bias` are spared."""

    on_non_finite: Literal["reject", "skip"]
    hold_params: bool
    wire_dtype: Literal["bfloat16", "float16"] | None
    average: Mapping[str, float] | None
    undo: int


class ForkSettings(TypedDict, total=False):
    """The settings that a fork may have of its own. Those that are left out are the source's."""

    ttl_seconds: float | None
    labels: Mapping[str, str] | None


class Overrides(Hyperparameters, total=False):
    """Hyperparameters for one step; in `groups` those of a group, by its index or name."""

    groups: Mapping[str, Hyperparameters] | Mapping[int, Hyperparameters]


class StepOptions(TypedDict, total=False):
    """The options of a step, for that step alone.

    `step` is its number; without it, the next one. `loss` goes into the history. `overrides` replaces hyperparameters,
    also a scheduled learning rate; `lr` is short for its `lr`. The gradients are divided by `grad_scale` before they
    are checked.
    """

    step: SupportsIndex | None
    loss: SupportsFloat | None
    lr: SupportsFloat | None
    overrides: Overrides | None
    grad_scale: SupportsFloat | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSettings:
    """The settings of a session, each with its effective value. A default is for a service without the setting."""

    optimizer: Optimizer
    hyperparameters: Mapping[str, Any]
    groups: list[dict[str, Any]]
    schedule: Schedule | None
    clip: Mapping[str, Any] | None
    on_non_finite: str
    hold_params: bool
    wire_dtype: str | None = None
    on_other_params: str = "accept"
    average: Mapping[str, float] | None = None
    undo: int = 0
    workers: RoundSettings | AsyncSettings | None = None
    ttl_seconds: float | None
    labels: Mapping[str, str]


FIELDS = frozenset(Settings.__annotations__.keys() - Hyperparameters.__annotations__.keys())
"""The members of a request; every other setting goes into its `hyperparameters`."""


def document(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as a request has them: its own members, and `hyperparameters`.

    Raises `TypeError` for a name that is no setting or a value that has no JSON, and `ValueError` for NaN and infinity.
    """
    if "optimizer" in settings:
        raise TypeError("optimizer cannot be changed: create a new session")
    if "hyperparameters" in settings:
        given = settings["hyperparameters"]
        wanted = ", ".join(f"{name}=…" for name in given) if isinstance(given, Mapping) and given else "lr=…"
        raise TypeError(f"unknown setting 'hyperparameters': pass {wanted} directly")
    values = {name: as_json(name, value) for name, value in settings.items()}
    fields = {name: value for name, value in values.items() if name in FIELDS}
    hyperparameters = {name: value for name, value in values.items() if name not in FIELDS}
    return {**fields, "hyperparameters": hyperparameters} if hyperparameters else fields
