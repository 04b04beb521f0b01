"""The setting `workers`: how several workers train one session, in rounds or asynchronously."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from app.errors import InvalidSession
from optim_engine import InvalidConfig
from optim_engine.aggregate import Aggregate, Kind
from optim_engine.fields import (
    Checked,
    check_known,
    choice,
    field_schema,
    integer,
    named,
    number,
    optional,
    plain,
    read_fields,
)

MOST_WORKERS = 1024
"""The most workers of a session."""
LONGEST_NAME = 128
LONGEST_WAIT = 30 * 86400
"""The longest deadline, grace and lease, in seconds."""

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._~:@-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True, kw_only=True)
class RoundSettings(Checked):
    """The settings of rounds: the contributions of all workers to a round become one step."""

    expected: int = integer(1, at_least=1, at_most=MOST_WORKERS)
    """The number of contributions at which a round closes at once."""
    quorum: int = integer(1, at_least=1, at_most=MOST_WORKERS)
    """The least number of contributions with which a round may close."""
    deadline_seconds: float = number(60.0, above=0, at_most=LONGEST_WAIT)
    grace_seconds: float = number(2.0, at_least=0, at_most=LONGEST_WAIT)
    aggregate: Kind = choice(*get_args(Kind), default="mean")
    max_norm: float | None = optional(number(above=0))
    """The bound on a contribution's norm, for `clipped_mean`."""
    trim: float | None = optional(number(at_least=0, below=0.5))
    """The share of contributions that `trimmed_mean` leaves out at each side."""
    max_staleness: int = integer(0, at_least=0)
    lease_seconds: float = number(30.0, above=0, at_most=LONGEST_WAIT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quorum > self.expected:
            raise InvalidConfig("quorum", f"{self.quorum} is more than `expected`, which is {self.expected}")
        for name, aggregate in (("max_norm", "clipped_mean"), ("trim", "trimmed_mean")):
            given, needed = getattr(self, name) is not None, self.aggregate == aggregate
            if needed and not given:
                raise InvalidConfig(name, f"is required with {aggregate}")
            if given and not needed:
                raise InvalidConfig(name, f"is for {aggregate} alone, and `aggregate` is {self.aggregate}")

    @property
    def aggregation(self) -> Aggregate:
        """Return what makes one gradient of those of a round."""
        return Aggregate(self.aggregate, self.max_norm or 1.0, self.trim or 0.0)


@dataclass(frozen=True, kw_only=True)
class AsyncSettings(Checked):
    """The settings of the asynchronous mode: each contribution is a step of its own."""

    max_staleness: int = integer(8, at_least=0)
    staleness: str = choice("reject", "scale", default="reject")
    lease_seconds: float = number(30.0, above=0, at_most=LONGEST_WAIT)


WorkerSettings = RoundSettings | AsyncSettings
MODES: Mapping[str, type[WorkerSettings]] = {"rounds": RoundSettings, "async": AsyncSettings}
"""The modes by name; the first is the default."""


def mode_of(settings: WorkerSettings) -> str:
    """Return the name of the settings' mode."""
    return next(name for name, kind in MODES.items() if isinstance(settings, kind))


def read_workers(where: str, value: object) -> WorkerSettings | None:
    """Return the setting from JSON. Raises `InvalidConfig`."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidConfig(where, f"must be an object or null, not {named(value)}")
    mode = value.get("mode", next(iter(MODES)))
    check_known(f"{where}.mode", mode, MODES)
    return read_fields(where, MODES[mode], {name: given for name, given in value.items() if name != "mode"})


def write_workers(settings: WorkerSettings | None) -> dict[str, Any] | None:
    """Return the setting as JSON has it, with every effective value."""
    if settings is None:
        return None
    values = {name: value for name, value in plain(settings).items() if value is not None}
    return {"mode": mode_of(settings), **values}


def workers_schema() -> dict[str, Any]:
    """Return the JSON schema of the setting."""
    kinds = []
    for mode, kind in MODES.items():
        schema = field_schema(kind)
        schema["properties"] = {"mode": {"const": mode}, **schema["properties"]}
        kinds.append({"title": mode, **schema, **({} if mode == next(iter(MODES)) else {"required": ["mode"]})})
    return {"oneOf": [*kinds, {"type": "null"}]}


def check_name(name: str) -> str:
    """Return the name of a worker. Raises `InvalidSession`."""
    if _NAME.fullmatch(name):
        return name
    raise InvalidSession(
        f"worker {name!r:.80}: a name has 1 to {LONGEST_NAME} letters, digits and . _ ~ : @ - and begins with a letter "
        "or a digit",
        where="worker",
    )
