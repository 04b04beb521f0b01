"""Plain values: numbers and times as JSON can write them."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache


def number(x: float | None) -> float | str | None:
    """Return x, or, if it is not finite, `"NaN"`, `"Infinity"` or `"-Infinity"`, which `float` reads."""
    if x is None or math.isfinite(x):
        return x
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def numbers(values: Mapping[str, float]) -> dict[str, float | str | None]:
    """Return the values by name, each as `number` does."""
    if math.isfinite(sum(values.values())):  # then each is
        return dict(values)
    return {name: number(value) for name, value in values.items()}


def instant(seconds: float | None) -> str | None:
    """Return a Unix time as RFC 3339 in UTC, to the millisecond."""
    if seconds is None:
        return None
    try:
        whole = math.floor(seconds)
        micros = round((seconds - whole) * 1e6)
        return f"{_second(whole + micros // 1_000_000)}.{micros % 1_000_000 // 1_000:03}Z"
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59.999Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Return a Unix time without its fraction: many instants are of one second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
